#!/usr/bin/env bash
# What clients that say nothing cost the others, on this machine: a node takes mail in
# from 500 busy connections, without and with idle ones beside them, in turn.
#
#   bench/idle.sh [--idle 20000] [--busy 500] [--messages 40000] [--rounds 3]
#                 [--size 5120] [--dir DIR]
#
# Needs jq and Go. Each idle connection takes a file descriptor of the node's and one of
# ours: ulimit -Hn has to be some 600 above --idle. Memory is the node's resident set
# (VmRSS) with all idle connections open against without, after three seconds of rest.
# TARISHI=file uses that binary instead of building one.
set -euo pipefail

idle=20000 busy=500 messages=40000 rounds=3 size=5120 base=${TMPDIR:-/tmp}
while [ $# -gt 0 ]; do
  case $1 in
    --idle|--busy|--messages|--rounds|--size) printf -v "${1#--}" %s "$2"; shift 2 ;;
    --dir) base=$2; shift 2 ;;
    *) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit 2 ;;
  esac
done
repo=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d "$base/tarishi-idle.XXXXXX")
node= idler=
finish() {
  for p in $idler $node; do kill "$p" 2>/dev/null && wait "$p" 2>/dev/null || true; done
  rm -rf "$work"
}
trap finish EXIT
ulimit -n "$(ulimit -Hn)"
bin=${TARISHI:-}
[ -n "$bin" ] || { bin=$work/tarishi; (cd "$repo" && go build -o "$bin" ./cmd/tarishi); }

port=$((20000 + RANDOM % 10000))
cat >"$work/config.yaml" <<Y
hostname: mx.idle.test
data: $work/data
roles: [ingress, scheduler]
smtp: {listen: ["127.0.0.1:$port"], limits: {connections: 100000}}
admin: {listen: "127.0.0.1:$((port + 1))"}
log: {level: warn}
Y
"$bin" serve --config "$work/config.yaml" 2>"$work/log" & node=$!
for _ in $(seq 100); do curl -sf "127.0.0.1:$((port + 1))/readyz" >/dev/null && break; sleep 0.1; done
rss() { awk '/VmRSS/{print $2}' "/proc/$node/status"; }
cpu() { awk -v hz="$(getconf CLK_TCK)" '{print int(($14 + $15) * 1e6 / hz)}' "/proc/$node/stat"; } # in microseconds
# Prints messages a second, and the node's CPU time for one.
send() {
  local from=$(cpu)
  "$bin" bench source --to "127.0.0.1:$port" --connections "$busy" --messages "$messages" --size "$size" --destinations 100 --json >"$work/source.json"
  echo "$(jq -r .messages_per_second "$work/source.json") $((($(cpu) - from) / messages))"
}
median() { awk -v c="$1" '{print $c}' | sort -g | awk '{a[NR]=$1} END {print (NR % 2) ? a[(NR+1)/2] : (a[NR/2]+a[NR/2+1])/2}'; }

send >/dev/null # warm
for r in $(seq "$rounds"); do
  send >>"$work/alone"
  rm -f "$work/opened"; sleep 3; before=$(rss)
  "$bin" bench idle --to "127.0.0.1:$port" --connections "$idle" --json >"$work/idle.json" 2>"$work/opened" & idler=$!
  until [ -s "$work/opened" ] 2>/dev/null; do sleep 0.2; done
  sleep 3; after=$(rss)
  echo "$(((after - before) * 1024 / idle))" >>"$work/bytes"
  send >>"$work/beside"
  kill -INT "$idler"; wait "$idler" || true; idler=
  jq -c '{opened, refused, failed, alive}' "$work/idle.json" >&2
  echo "round $r, messages/s and us of CPU each: alone $(tail -1 "$work/alone"), beside $(tail -1 "$work/beside"); $(tail -1 "$work/bytes") bytes a connection" >&2
  sleep 1
done
awk -v a="$(median 1 <"$work/alone")" -v b="$(median 1 <"$work/beside")" -v ca="$(median 2 <"$work/alone")" -v cb="$(median 2 <"$work/beside")" \
  -v m="$(median 1 <"$work/bytes")" -v n="$idle" -v busy="$busy" 'BEGIN {
    printf "%d busy connections alone: %.0f messages/s, %.0f us of CPU each\n", busy, a, ca
    printf "beside %d idle ones: %.0f messages/s (%.2f), %.0f us of CPU each (%.2f); %d bytes for an idle one\n", n, b, b/a, cb, cb/ca, m }'
