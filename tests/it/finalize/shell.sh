# What a shell makes of the language, line by line. The same text is run by /bin/sh and followed by mkimage; both
# must print the same. No line needs files or programs of the host.
a='one two'; b=; c="x*y"; p=/usr/share/doc/x.tar.gz
printf '%s\n' "1 $a" $a "$b" '$a' "$c" \$a "\$a \"q\" \\ \x"
echo "2 ${a}b ${b:-def} ${b-def} ${unset:-d} ${unset-d} ${a:+alt} ${b:+alt} ${b+alt} [${#a}]"
echo "3 ${p##*/} ${p#*/} ${p%.*} ${p%%.*} ${p%/*} ${p#nothing} ${p%%*} ${a% *}"
s='*'; echo "4 ${c#x$s} ${c#x"$s"} ${c%\*y}"
: "${made:=value}"; echo "5 $made ${made:=other}"
set -- "a b" c 'd  e'; echo "6 $# $1 ${3} [$*] [$@]"; shift; echo "7 $# $1"
for x in "$@" l1 "l 2"; do echo "8 [$x]"; done
for x; do echo "9 [$x]"; done
f() { local v="in $1"; echo "10 $v $#"; return 1; }
v=out; f x y || echo "11 failed $? $v"
if f z; then echo no; elif [ "$v" = out ]; then echo "12 elif"; else echo no; fi
case abc in (x|y) echo no;; a*) echo "13 arm";; *) echo no;; esac
case "$c" in 'x*y') echo "14 quoted";; esac
case x.y in x?y) echo "15 any";; esac
case "-n" in -[a-m]) echo no;; -[!a-m]) echo "16 set";; esac
i=0; while [ $i -lt 3 ]; do i=$((i + 1)); [ $i -eq 2 ] && continue; echo "17 $i"; done
until [ $i = 5 ]; do i=$((i+1)); if [ $i = 5 ]; then break; fi; done; echo "18 $i $((i - 2 + 10)) $(( -1 + i ))"
echo "19 $(echo "nested $(echo "deep  x") y") `echo back \`echo tick\``"
x=$(printf '%s-%s\n\n' p q); echo "20 [$x]"
cat <<EOF
21 $a ${p##*/} \$a $(echo sub) 'q' "d"
EOF
cat <<'EOF'
22 $a \$a `x`
EOF
cat <<-EOF
	23 tabs
	EOF
printf '24 l1 w\nl2\n' | while read first rest; do echo "25 $first|$rest"; done
(v=inner; echo "26 $v"); echo "27 $v"
{ echo "28 a"; echo "29 b"; } | sed -e 's/[0-9]*/N/' -e '/b$/d'
true && echo "30 and" || echo no; false && echo no || echo "31 or"; ! false && echo "32 not"
[ -n "$a" -a -z "$b" ] && echo "33 a"; [ "x" = "y" -o 1 -eq 1 ] && echo "34 o"; [ ! "$b" ] && echo "35 n"; test "$a" != x && echo "36 t"
echo a:b:c | cut -d: -f2; echo "AbC" | tr A-Z a-z; echo "x y z" | sed 's/ /_/g'; printf 'b\na\nb\n' | sort -u
echo "37 $(basename /a/b.c .c) $(dirname /a/b.c) $(dirname x)"
IFS=:; for y in $(echo q:w); do echo "38 $y"; done; unset IFS
eval "z='ev  al'"; echo "39 $z"
g() { if [ $# -gt 0 ]; then echo "40 $1"; shift; g "$@"; fi; }; g r1 r2
echo "41 ${a%"${a#?}"} ${p%%[0-9]} ${b:-"d e"} ${b:-$a}" ${b:-d  e}
set -- ${a}x"$a"; echo "42 $# [$1] [$2]"
echo 43 a\
b "c\
d"
echo "44 done"; echo no-newline | grep -q '^no-.*line$' && echo "45 grep"; echo abc | grep -Eq '^(ab|x)c$' && echo "46 egrep"
seq 3; echo "47 $(seq 2 -1 0 | tr '\n' ,)"; h() { return; }; h && echo "48 ret"
echo "49" "$(echo 'a
b')"; echo 50 $(echo 'a
b')
