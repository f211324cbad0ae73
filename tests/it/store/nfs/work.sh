# What machines are told to do.
[ ! -e /tmp/env ] || . /tmp/env

# serve ADDRESS...: exports /var/export over NFSv4 to these addresses. What exportfs and mountd would tell the kernel
# is written to its caches, so that no program but the kernel serves. Leases of clients last ten seconds.
serve() {
    mkdir -p /var/export /var/lib/nfs/v4recovery
    mount -t nfsd nfsd /proc/fs/nfsd 2>/dev/null
    cd /proc/fs/nfsd || return 1
    echo 10 >nfsv4leasetime
    echo 10 >nfsv4gracetime
    echo "-2 -3 +4 +4.1 +4.2" >versions
    never=2147483647
    for address in "$@"; do
        echo "nfsd $address $never farm" >/proc/net/rpc/auth.unix.ip/channel
    done
    # insecure, sync, no_root_squash, no_subtree_check, fsid=0
    echo "farm /var/export $never $((0x2402)) 65534 65534 0" >/proc/net/rpc/nfsd.export/channel
    printf 'farm 1 \\x00000000 %s /var/export\n' $never >/proc/net/rpc/nfsd.fh/channel
    echo 8 >threads
}

# attach SERVER OPTIONS: mounts what the server exports.
attach() {
    mkdir -p /run/farm
    mount -t nfs4 -o "vers=4.2,proto=tcp,sec=sys,hard,timeo=50,addr=$1,clientaddr=$2${3:+,$3}" "$1:/" /mnt
}

# job NAME COMMAND...: runs a command in the background.
job() {
    name=$1
    shift
    rm -f "/tmp/job-$name.status"
    (
        "$@" >"/tmp/job-$name.out" 2>&1 </dev/null
        echo $? >"/tmp/job-$name.status"
    ) >/dev/null 2>&1 &
}

# finished NAME...: waits for jobs, shows what they said, and fails where one did.
finished() {
    failed=0
    for name in "$@"; do
        while [ ! -s "/tmp/job-$name.status" ]; do usleep 50000; done
        cat "/tmp/job-$name.out"
        status=$(cat "/tmp/job-$name.status")
        [ "$status" = 0 ] || { echo "job $name: status $status"; failed=1; }
    done
    return $failed
}

# recipe NAME TEXT: makes a recipe with a file of its own, and one that all recipes share.
recipe() {
    mkdir -p "/tmp/$1"
    printf '%s\n' "image \"$1\" {" '  init = "/app"' '}' 'file "/app" {' '  source = "app"' '  mode = "0755"' '}' \
        'file "/etc/text" {' "  content = \"$2\\n\"" '}' >"/tmp/$1/$1.hcl"
    [ -s "/tmp/$1/app" ] || seq 1 20000 >"/tmp/$1/app"
}

# compose NAME TEXT: makes a commit and prints its id.
compose() {
    recipe "$1" "$2"
    mkimage compose --quiet "/tmp/$1/$1.hcl"
}

# moves NAME REF COUNT: moves a ref COUNT times, by turns to NAME-0 and NAME-1. Each move that was acknowledged is a
# line on the console, which outlives the machine.
moves() {
    done=0 raced=0
    while [ $done -lt "$3" ]; do
        if mkimage promote --quiet "$1-$((done % 2))" "$2" >"/tmp/moves-$1" 2>&1; then
            done=$((done + 1))
            echo "moved $2 by $1" >/dev/ttyS0
        elif grep -q "was moved by someone else" "/tmp/moves-$1"; then
            raced=$((raced + 1))
        else
            cat "/tmp/moves-$1"
            return 1
        fi
    done
    echo "moves $done raced $raced"
}

# again COMMAND...: runs a command until /tmp/stop is there. What may happen beside collectors is no failure.
again() {
    times=0 refused=0
    while [ ! -e /tmp/stop ]; do
        if said=$("$@" 2>&1); then
            times=$((times + 1))
        elif echo "$said" | grep -qE "is being collected or repacked by|garbage was collected meanwhile"; then
            refused=$((refused + 1))
        else
            echo "$said"
            return 1
        fi
        usleep 300000
    done
    echo "times $times refused $refused"
}

# collect: collects all that can be.
collect() {
    mkimage gc --quiet --grace 0s --reflog 0s --memo 0s --trash 0s
}

# look REF TEXT: reads a ref, a file, and a whole tree.
look() {
    mkimage refs >/dev/null && [ "$(mkimage cat "$1" /etc/text)" = "$2" ] || return 1
    rm -rf "/tmp/out-$1"
    mkimage checkout --quiet "$1" "/tmp/out-$1" && cmp "/tmp/out-$1/app" "/tmp/app"
}

# renew NAME: composes another version of a recipe each time that `again` calls it, so that there is garbage.
renew() {
    compose "$1" "version $times.$refused"
}

# caught PATTERN FILE COMMAND: runs a command again and again, looks into FILE meanwhile, and stops the command when
# there is a line with PATTERN. Says how often it had succeeded by then.
caught() {
    number=0 acknowledged=0
    while [ $number -lt 60 ]; do
        number=$((number + 1)) turn=$((number % 2))
        rm -f /tmp/caught.status
        (
            eval "$3"
            echo $? >/tmp/caught.status
        ) >/tmp/caught 2>&1 &
        while [ ! -s /tmp/caught.status ]; do
            grep -q "$1" "$2" 2>/dev/null || continue
            kill -STOP $(pidof mkimage) 2>/dev/null || continue
            if grep -q "$1" "$2" 2>/dev/null; then
                echo "acknowledged $acknowledged"
                return 0
            fi
            kill -CONT $(pidof mkimage)
        done
        [ "$(cat /tmp/caught.status)" != 0 ] || acknowledged=$((acknowledged + 1))
    done
    echo "never stopped where it should be; the last one said:"
    cat /tmp/caught
    return 1
}
