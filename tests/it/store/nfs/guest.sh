#!/bin/busybox sh
# The init of a machine: does what the other end of its second serial port says, line by line, and ends each
# answer with a line of its own: "@@ STATUS".
/bin/busybox mkdir -p /run/bin
/bin/busybox --install -s /run/bin
export PATH=/run/bin:/bin HOME=/tmp TMPDIR=/tmp MKIMAGE_STORE=/store
ip link set lo up
stty -F /dev/ttyS1 raw -echo
exec </dev/ttyS1 >/dev/ttyS1 2>&1
echo "@@ ready"
while IFS= read -r line; do
    (
        . /sbin/work
        eval "$line"
    ) </dev/null
    status=$?
    echo
    echo "@@ $status"
done
# Nobody is there any more.
poweroff -f
