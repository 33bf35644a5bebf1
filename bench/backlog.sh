#!/usr/bin/env bash
# A long day for one node: a million messages wait for a receiver that is shut, and
# everything else goes on. Prints one line for each figure.
#
#   bench/backlog.sh [--messages 1000000] [--destinations 100000] [--flow 40000]
#                    [--rounds 3] [--parts "shut many fair"] [--dir DIR] [--keep]
#
# Needs curl, jq, python3, Go. Everything lives in a new directory under --dir
# (default: $TMPDIR or /tmp), which should be on a real disk with 10 GB to spare.
# TARISHI=file uses that binary instead of building one. Every process it starts is
# ended, also after Ctrl-C.
#
# What is measured:
#   shut  --messages of 2 KiB for one suspended destination. Throughput of other mail
#         before and with them (medians of --rounds, end to end); CPU and memory while
#         they wait; accept p99 of other mail during the flood; why, queue ls and queue
#         show; kill -9 and the time until other mail is sent again; queue rm of all.
#   many  --messages of 2 KiB for --destinations destinations, held back and then all
#         due at once: how fast they drain, the heap, accept p99 of new mail meanwhile.
#   fair  half of --messages of one tenant for an open destination that takes 200/s;
#         one message of another tenant: the time from its 250 to its first attempt.
set -euo pipefail

messages=1000000 destinations=100000 flow=40000 rounds=3 parts="shut many fair" base=${TMPDIR:-/tmp} keep=
usage() { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit "${1:-0}"; }
while [ $# -gt 0 ]; do
  case $1 in
    --messages|--destinations|--flow|--rounds|--parts)
      [ $# -ge 2 ] || usage 2; printf -v "${1#--}" %s "$2"; shift 2 ;;
    --dir) [ $# -ge 2 ] || usage 2; base=$2; shift 2 ;;
    --keep) keep=1; shift ;;
    -h|--help) usage ;;
    *) echo "unknown: $1" >&2; usage 2 ;;
  esac
done

repo=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d "$base/tarishi-backlog.XXXXXX")
say() { printf '%s\n' "$*" >&2; }
figure() { printf '%-58s %s\n' "$1" "$2"; }
die() { say "backlog: $*"; exit 1; }

node_pid= sink_pid= source_pid=
end() { # end PID [SIGNAL]
  [ -n "$1" ] && kill "-${2:-TERM}" "$1" 2>/dev/null || return 0
  tail --pid="$1" -f /dev/null 2>/dev/null & local waiter=$!
  for _ in $(seq 400); do kill -0 "$1" 2>/dev/null || break; sleep 0.1; done
  kill -KILL "$1" 2>/dev/null || true
  kill "$waiter" 2>/dev/null || true
}
cleanup() {
  end "$source_pid" KILL; end "$node_pid"; end "$sink_pid"
  [ -n "$keep" ] && say "kept: $work" || rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

free_port() { python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1",0)); print(s.getsockname()[1])'; }
now() { date +%s.%N; }
since() { awk -v a="$1" -v b="$(now)" 'BEGIN{printf "%.2f", b-a}'; }
median() { sort -n | awk '{v[NR]=$1} END{print v[int((NR+1)/2)]}'; }

bin=${TARISHI:-$work/tarishi}
[ -n "${TARISHI:-}" ] || (cd "$repo" && go build -o "$bin" ./cmd/tarishi)
smtp=$(free_port) admin=$(free_port) sink=$(free_port)
api=http://127.0.0.1:$admin

start_node() {
  cat >"$work/node.yaml" <<EOF
hostname: mta.bench.test
data: $work/data
smtp: {listen: ["127.0.0.1:$smtp"], tenant_header: X-Tenant}
admin: {listen: "127.0.0.1:$admin"}
routes: [{to: "*", via: "127.0.0.1:$sink"}]
log: {attempts: false, level: warn}
EOF
  "$bin" serve --config "$work/node.yaml" >>"$work/node.out" 2>>"$work/node.log" &
  node_pid=$!
  for _ in $(seq 1200); do
    curl -fsS -o /dev/null "$api/readyz" 2>/dev/null && return
    kill -0 "$node_pid" 2>/dev/null || die "the node has ended: $(tail -3 "$work/node.log")"
    sleep 0.05
  done
  die "the node is not ready after a minute"
}
start_sink() { # start_sink [flags]
  "$bin" bench sink --listen "127.0.0.1:$sink" --quiet --json "$@" >"$work/sink.json" 2>>"$work/sink.log" &
  sink_pid=$!
  for _ in $(seq 200); do (exec 3<>"/dev/tcp/127.0.0.1/$sink") 2>/dev/null && return; sleep 0.05; done
  die "the sink does not listen"
}
stop_sink() { end "$sink_pid" INT; sink_pid=; }
run() { "$bin" "$@" --admin "$api"; }
queued() { curl -fsS "$api/metrics" | awk '/^tarishi_queue_deliveries/{n+=$2} END{print n+0}'; }
send() { # send FILE flags...
  local out=$1; shift
  "$bin" bench source --to "127.0.0.1:$smtp" --quiet --json --size 2048 --retry "$@" >"$out"
}
rss() { awk '/^VmRSS/{print $2*1024}' "/proc/$node_pid/status"; }
ticks() { awk '{print $14+$15}' "/proc/$node_pid/stat"; }
metric() { curl -fsS "$api/metrics" | awk -v m="$1" '$1==m{print $2}'; }
counts() { curl -fsS "$api/v1/status" | jq -r '.stats.queue | "\(.ready) \(.waiting) \(.active)"'; }
# await WHAT JQ: until the queue's counts satisfy it; 30 minutes at most.
await() {
  for _ in $(seq 9000); do
    [ "$(curl -fsS "$api/v1/status" 2>/dev/null | jq -r ".stats.queue | $2" 2>/dev/null)" = true ] && return
    sleep 0.2
  done
  die "waited half an hour for: $1"
}
# through FILE: messages a second of other mail, from the first MAIL to the last at the sink.
through() {
  local out=$1 began
  start_sink --expect "$flow" --timeout 10m
  send "$out" --messages "$flow" --connections 20 --destination-template "u@open.test"
  wait "$sink_pid" || die "the sink did not get all of $out"
  sink_pid=
  jq -r -s '(.[0].first_mail_unix_nanos) as $a | .[1].last_distinct_unix_nanos as $b | .[1].distinct/(($b-$a)/1e9)' "$out" "$work/sink.json"
}
rounds_of() { for i in $(seq "$rounds"); do through "$work/$1.$i.json"; done | tee "$work/$1.rates" | median; }
p99() { jq -r '.accept_latency.p99_ms' "$1"; }
busy() { # % of a core over half a minute, in which nothing is asked of the node
  local t0; t0=$(ticks); sleep 30
  awk -v d=$(($(ticks)-t0)) -v hz="$(getconf CLK_TCK)" 'BEGIN{printf "%.2f", d/hz/30*100}'
}
timed() { # timed COMMAND...: its seconds
  local a; a=$(now); "$@" >"$work/out" 2>&1 || die "$* failed: $(tail -3 "$work/out")"; since "$a"
}

part_shut() {
  start_node
  local before; before=$(rounds_of before)
  figure "other mail, nothing waiting: messages/s" "$(printf %.0f "$before")"
  sleep 15
  figure "nothing waits, nothing comes: % of a core" "$(busy)"
  run limits suspend shut.test --reason bench >/dev/null
  local bare; bare=$(rss)

  # The flood, and other mail beside it.
  start_sink
  local a; a=$(now)
  send "$work/flood.json" --messages "$messages" --connections 20 --destination-template "u{n}@shut.test" & source_pid=$!
  sleep 2
  send "$work/beside.json" --rate 200 --duration 20s --connections 4 --destination-template "u@open.test"
  wait "$source_pid" || die "the flood was not accepted"; source_pid=
  figure "flood for the shut destination: accepted/s" "$(jq -r '.messages_per_second|floor' "$work/flood.json")"
  await "all of the flood to wait" ".waiting >= $messages and .ready == 0 and .active == 0"
  figure "flood: accepted and parked/s" "$(awk -v n="$messages" -v t="$(since "$a")" 'BEGIN{printf "%.0f", n/t}')"
  figure "other mail during the flood: accept p99 ms" "$(p99 "$work/beside.json")"
  stop_sink

  sleep 30 # what was under way is over
  figure "while they wait: % of a core" "$(busy)"
  figure "while they wait: RSS MB, heap MB" "$(awk -v r="$(rss)" -v h="$(metric go_memstats_heap_inuse_bytes)" 'BEGIN{printf "%.0f, %.0f", r/1e6, h/1e6}')"
  figure "while they wait: octets of RSS a delivery beyond the bare node's" "$(awk -v r="$(rss)" -v b="$bare" -v n="$messages" 'BEGIN{printf "%.0f", (r-b)/n}')"
  local with; with=$(rounds_of with)
  figure "other mail, all waiting: messages/s (of before)" "$(awk -v w="$with" -v b="$before" 'BEGIN{printf "%.0f (%.2f)", w, w/b}')"

  local id; id=$(run queue ls --destination shut.test --max 1 --json | jq -r '.. | .id? // empty' | head -1)
  [ -n "$id" ] || die "queue ls showed no delivery"
  figure "tarishi why, s" "$(timed run why "$id")"
  figure "tarishi queue ls, s" "$(timed run queue ls)"
  figure "tarishi queue ls --destination, s" "$(timed run queue ls --destination shut.test --max 50)"
  figure "tarishi queue show, s" "$(timed run queue show "$id")"

  kill -KILL "$node_pid"; wait "$node_pid" 2>/dev/null || true
  a=$(now); start_node
  figure "after kill -9: ready, s" "$(since "$a")"
  start_sink --expect 1 --timeout 2m
  send "$work/first.json" --messages 1 --connections 1 --destination-template "u@open.test"
  wait "$sink_pid" || die "nothing is sent after the restart"; sink_pid=
  figure "after kill -9: sending again, s" "$(since "$a")"
  figure "after kill -9: waiting" "$(counts | cut -d' ' -f2)"
  figure "queue rm --destination of all, s" "$(timed run queue rm --destination shut.test --yes --reason bench)"
  figure "left" "$(counts)"
  end "$node_pid"; node_pid=; rm -rf "$work/data"
}

part_many() {
  start_node
  run limits suspend '*' --reason bench >/dev/null
  send "$work/many.json" --messages "$messages" --connections 20 --destinations "$destinations"
  await "all to wait" ".waiting >= $messages and .ready == 0 and .active == 0"
  figure "$destinations destinations, $messages waiting: heap MB" "$(awk -v h="$(metric go_memstats_heap_inuse_bytes)" 'BEGIN{printf "%.0f", h/1e6}')"
  start_sink --expect "$messages" --timeout 30m
  local a; a=$(now)
  run limits resume '*' >/dev/null
  send "$work/newmail.json" --rate 100 --duration 60s --connections 4 --destination-template "u@new.test" & source_pid=$!
  local peak=0 h
  while kill -0 "$sink_pid" 2>/dev/null; do
    h=$(metric go_memstats_heap_inuse_bytes); peak=$(awk -v a="$peak" -v b="$h" 'BEGIN{print (b>a)?b:a}')
    sleep 1
  done
  wait "$sink_pid" || die "not all arrived"; sink_pid=
  figure "drained: messages/s" "$(awk -v n="$messages" -v t="$(since "$a")" 'BEGIN{printf "%.0f", n/t}')"
  figure "draining: largest heap MB" "$(awk -v h="$peak" 'BEGIN{printf "%.0f", h/1e6}')"
  wait "$source_pid" || true; source_pid=
  figure "draining: accept p99 of new mail, ms" "$(p99 "$work/newmail.json")"
  end "$node_pid"; node_pid=; rm -rf "$work/data"
}

part_fair() {
  start_node
  start_sink --delay 100ms --ids "$work/fair.ids"
  send "$work/flood2.json" --messages $((messages/2)) --connections 20 --destination-template "u{n}@open.test" & source_pid=$!
  sleep 10 # it is well under way
  local worst=0
  for i in 1 2 3 4 5; do
    local t
    t=$(python3 - "$smtp" "$work/fair.ids" "$i" <<'P'
import smtplib, sys, time
port, ids, i = int(sys.argv[1]), sys.argv[2], sys.argv[3]
to = "single%s-%d@open.test" % (i, time.time())
s = smtplib.SMTP("127.0.0.1", port)
s.sendmail("b@bench.test", [to], "X-Tenant: b\r\nX-Bench-Id: single-%s\r\nSubject: one\r\n\r\none\r\n" % to)
began = time.time(); s.quit()
while time.time() - began < 60:
    if to in open(ids).read():
        print("%.2f" % (time.time() - began)); sys.exit()
    time.sleep(0.02)
print("60.00")
P
)
    figure "one message behind the other tenant's $(counts): s" "$t"
    worst=$(awk -v a="$worst" -v b="$t" 'BEGIN{print (b>a)?b:a}'); sleep 3
    [ "$i" = 2 ] && { wait "$source_pid" || true; source_pid=; }
  done
  figure "one message behind another tenant's backlog: longest s" "$worst"
  end "$node_pid"; node_pid=; stop_sink; rm -rf "$work/data"
}

figure "cores, load before" "$(nproc), $(cut -d' ' -f1 /proc/loadavg)"
for p in $parts; do "part_$p"; done
