"""Plays S3 (moto) on a free port of this machine, until standard input ends: no server outlives its tests.

Prints its address once it serves. The bucket that the first argument names is there.
"""

import logging
import sys

import boto3
from moto.server import ThreadedMotoServer

logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
address = "http://%s:%d" % server.get_host_and_port()
client = boto3.client("s3", endpoint_url=address, region_name="us-east-1",
                      aws_access_key_id="key", aws_secret_access_key="secret")
client.create_bucket(Bucket=sys.argv[1])
print(address, flush=True)
sys.stdin.read()
