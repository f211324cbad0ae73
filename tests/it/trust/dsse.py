"""Signs and verifies DSSE envelopes with an implementation that is not ours (securesystemslib).

    dsse.py verify THRESHOLD KEYID=PUBLIC_HEX...   < envelope   prints the payload
    dsse.py sign TYPE KEYID=SEED_HEX...            < payload    prints the envelope
"""

import json
import sys

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner, SSlibKey


def key(keyid, public_hex):
    return SSlibKey(keyid, "ed25519", "ed25519", {"public": public_hex})


def signer(keyid, seed_hex):
    private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed_hex))
    return CryptoSigner(private, key(keyid, private.public_key().public_bytes_raw().hex()))


verb, argument, *pairs = sys.argv[1:]
pairs = [pair.split("=") for pair in pairs]
given = sys.stdin.buffer.read()
if verb == "verify":
    envelope = Envelope.from_dict(json.loads(given))
    envelope.verify([key(*pair) for pair in pairs], int(argument))
    sys.stdout.buffer.write(envelope.payload)
else:
    envelope = Envelope(given, argument, {})
    for pair in pairs:
        envelope.sign(signer(*pair))
    json.dump(envelope.to_dict(), sys.stdout)
