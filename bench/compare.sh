#!/usr/bin/env bash
# Compares mail relays on this machine: Postfix, Haraka and Tarishi, each between the
# same source and the same sink, in interleaved rounds. Prints a table of medians.
#
#   bench/compare.sh [--size 5120] [--destinations 1] [--messages 20000]
#                    [--connections 50] [--rounds 5] [--servers "postfix haraka tarishi"]
#                    [--timeout 600] [--dir DIR] [--keep] [--json]
#
# Needs root (Postfix does), jq, Go; for Haraka Node.js and npm. Postfix is installed
# with apt when it is missing. Everything lives in a new directory under --dir (default:
# $TMPDIR or /tmp), which should be on a real disk: all figures depend on its fsync.
# TARISHI=file uses that binary instead of building one, HARAKA=dir that npm directory.
# Every process it starts is ended, also after Ctrl-C.
#
# What is measured in a round, for each server:
#   msg/s       messages over the time from the first MAIL of the source to the last
#               distinct id at the sink: end to end
#   cpu µs/msg  user and system time of all the server's processes, from before the
#               round until one second after its end
#   accept ms   from MAIL to the 250 to the final dot, at the source
set -euo pipefail

size=5120 destinations=1 messages=20000 connections=50 rounds=5 timeout=600
servers="postfix haraka tarishi" base=${TMPDIR:-/tmp} keep= json=
usage() { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit "${1:-0}"; }
while [ $# -gt 0 ]; do
  case $1 in
    --size|--destinations|--messages|--connections|--rounds|--servers|--timeout)
      [ $# -ge 2 ] || usage 2; printf -v "${1#--}" %s "$2"; shift 2 ;;
    --dir) [ $# -ge 2 ] || usage 2; base=$2; shift 2 ;;
    --keep) keep=1; shift ;;
    --json) json=1; shift ;;
    -h|--help) usage ;;
    *) echo "unknown: $1" >&2; usage 2 ;;
  esac
done

repo=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d "$base/tarishi-compare.XXXXXX")
chmod 755 "$work" # Postfix's own users must get in
say() { echo "$*" >&2; }
die() { say "compare: $*"; exit 1; }

declare -A pid port          # of each running server
sink_port= sink_pid= source_pid=

# alive PID: it runs and is no zombie.
alive() { local stat; stat=$(cat "/proc/$1/stat" 2>/dev/null) && [[ $stat != *") Z "* ]]; }

# end PID SIGNAL: signals it and waits up to ten seconds, then kills.
end() {
  kill "-${2:-TERM}" "$1" 2>/dev/null || return 0
  for _ in $(seq 100); do alive "$1" || return 0; sleep 0.1; done
  say "compare: process $1 did not end, killing it"
  kill -KILL "$1" 2>/dev/null || true
}

# tree PID: it and all its descendants.
tree() {
  local child
  echo "$1"
  for child in $(cat /proc/"$1"/task/*/children 2>/dev/null || true); do tree "$child"; done
}

cleanup() {
  local s p
  trap '' HUP INT PIPE TERM
  trap - EXIT
  if [ -n "$source_pid" ]; then end "$source_pid"; fi
  if [ -n "$sink_pid" ]; then end "$sink_pid"; fi
  for s in "${!pid[@]}"; do
    # A server that does not take its children with it leaves none behind either.
    local all; all=$(tree "${pid[$s]}")
    end "${pid[$s]}"
    for p in $all; do if alive "$p"; then end "$p"; fi; done
  done
  if [ -n "$keep" ]; then say "compare: everything is in $work"; else rm -rf "$work"; fi
}
trap cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 141' PIPE
trap 'exit 143' TERM

# free_port: a port nobody listens on at the moment, and not given before.
next_port=$((20000 + RANDOM % 5000))
free_port() {
  while next_port=$((next_port + 1)); (exec 3<>"/dev/tcp/127.0.0.1/$next_port") 2>/dev/null; do :; done
  REPLY=$next_port
}

# listening PORT PID LOG: waits until the server greets with 220.
listening() {
  local line until=$((SECONDS + 30))
  while [ $SECONDS -lt $until ]; do
    alive "$2" || { tail -20 "$3" >&2; return 1; }
    # In a shell of its own: exec would make the redirection of errors permanent here.
    line=$( (exec 3<>"/dev/tcp/127.0.0.1/$1" && read -r -t 2 line <&3 && printf 'QUIT\r\n' >&3 && echo "$line") 2>/dev/null) || line=
    case $line in 220*) return 0 ;; esac
    sleep 0.1
  done
  tail -20 "$3" >&2
  return 1
}

# cpu PID: clock ticks of the process, its descendants, and those it has waited for.
cpu() {
  local p sum=0 stat t
  for p in $(tree "$1"); do
    stat=$(cat "/proc/$p/stat" 2>/dev/null) || continue
    read -ra t <<<"${stat##*) }"   # field 3 of proc(5) first: utime is 11, stime 12, cutime 13, cstime 14 here
    sum=$((sum + t[11] + t[12] + t[13] + t[14]))
  done
  echo "$sum"
}

start_postfix() {
  if ! command -v postfix >/dev/null; then
    say "compare: installing postfix"
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends postfix >"$work/apt.log" 2>&1 || return 1
  fi
  [ "$(id -u)" = 0 ] || { say "compare: postfix needs root"; return 1; }
  local d=$work/postfix; mkdir -p "$d/etc" "$d/queue" "$d/data"
  chown root "$d/queue"; chown postfix "$d/data"
  cat >"$d/etc/main.cf" <<CF
compatibility_level = 3.6
myhostname = postfix.compare.test
queue_directory = $d/queue
data_directory = $d/data
maillog_file = $d/maillog
maillog_file_prefixes = $d
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
# A pure relay: no local mail, no maps, no filters, no names to look up.
mydestination =
local_recipient_maps =
alias_maps =
alias_database =
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_recipient_restrictions =
smtpd_peername_lookup = no
smtp_dns_support_level = disabled
smtp_tls_security_level = none
smtpd_tls_security_level = none
relayhost = [127.0.0.1]:$sink_port
# Room for the load: processes, concurrency towards the one next hop, active queue.
default_process_limit = 200
default_destination_concurrency_limit = 100
initial_destination_concurrency = 50
default_destination_recipient_limit = 50
qmgr_message_active_limit = 100000
qmgr_message_recipient_limit = 100000
message_size_limit = 0
mailbox_size_limit = 0
# Connections are kept and reused.
smtp_connection_cache_on_demand = yes
smtp_connection_cache_destinations = [127.0.0.1]:$sink_port
smtp_connection_cache_time_limit = 10s
smtp_connection_reuse_time_limit = 300s
# No brake: neither input flow control nor the client limits of an Internet host.
in_flow_delay = 0s
smtpd_client_event_limit_exceptions = static:all
smtpd_client_connection_count_limit = 0
max_use = 1000
CF
  cat >"$d/etc/master.cf" <<CF
127.0.0.1:${port[postfix]} inet n - n - - smtpd
cleanup   unix  n       -       n       -       0       cleanup
qmgr      unix  n       -       n       300     1       qmgr
tlsmgr    unix  -       -       n       1000?   1       tlsmgr
rewrite   unix  -       -       n       -       -       trivial-rewrite
bounce    unix  -       -       n       -       0       bounce
defer     unix  -       -       n       -       0       bounce
trace     unix  -       -       n       -       0       bounce
verify    unix  -       -       n       -       1       verify
flush     unix  n       -       n       1000?   0       flush
proxymap  unix  -       -       n       -       -       proxymap
smtp      unix  -       -       n       -       -       smtp
relay     unix  -       -       n       -       -       smtp
showq     unix  n       -       n       -       -       showq
error     unix  -       -       n       -       -       error
retry     unix  -       -       n       -       -       error
discard   unix  -       -       n       -       -       discard
anvil     unix  -       -       n       -       1       anvil
scache    unix  -       -       n       -       1       scache
postlog   unix-dgram n  -       n       -       1       postlogd
CF
  postfix -c "$d/etc" start >"$d/start.log" 2>&1 || { cat "$d/start.log" >&2; return 1; }
  pid[postfix]=$(tr -d ' ' <"$d/queue/pid/master.pid")
  listening "${port[postfix]}" "${pid[postfix]}" "$d/maillog"
}

start_haraka() {
  command -v node >/dev/null && command -v npm >/dev/null || { say "compare: Haraka needs node and npm"; return 1; }
  local d=$work/haraka npmdir=${HARAKA:-$work/haraka-npm}; mkdir -p "$d/config" "$d/plugins" "$d/queue"
  if [ ! -d "$npmdir/node_modules/Haraka" ]; then
    say "compare: installing Haraka 3.3.4"
    mkdir -p "$npmdir"
    echo '{"private":true,"dependencies":{"Haraka":"3.3.4","haraka-plugin-relay":"~1.0.2"}}' >"$npmdir/package.json"
    # --before: the dependencies as they were when 3.3.4 came out.
    (cd "$npmdir" && npm i --no-audit --no-fund --omit=optional --before=2026-09-06) >"$work/npm.log" 2>&1 || { tail -5 "$work/npm.log" >&2; return 1; }
  fi
  ln -sfn "$npmdir/node_modules" "$d/node_modules"
  cp "$npmdir/node_modules/Haraka/config/connection.ini" "$d/config/" # it has no defaults of its own
  echo haraka.compare.test >"$d/config/me"
  printf '[main]\nlevel=warn\n' >"$d/config/log.ini"
  printf 'listen=127.0.0.1:%s\nnodes=cpus\n' "${port[haraka]}" >"$d/config/smtp.ini"
  printf 'concurrency_max=100\nenable_tls=false\ninet_prefer=v4\nlocal_mx_ok=true\n' >"$d/config/outbound.ini"
  printf '[relay]\nacl=true\nforce_routing=false\n' >"$d/config/relay.ini"
  echo 127.0.0.0/8 >"$d/config/relay_acl_allow"
  printf 'relay\nbench_route\n' >"$d/config/plugins"
  : >"$d/config/host_list"
  cat >"$d/plugins/bench_route.js" <<JS
'use strict'
exports.hook_get_mx = (next) => next(OK, { priority: 0, exchange: '127.0.0.1', port: $sink_port })
JS
  node "$npmdir/node_modules/Haraka/bin/haraka" -c "$d" >"$d/log" 2>&1 &
  pid[haraka]=$!
  listening "${port[haraka]}" "${pid[haraka]}" "$d/log"
}

start_tarishi() {
  local d=$work/tarishi; mkdir -p "$d"
  free_port; local admin=$REPLY
  cat >"$d/tarishi.yaml" <<YAML
hostname: tarishi.compare.test
data: $d/data
smtp:
  listen: ["127.0.0.1:${port[tarishi]}"]
  relay_from: [127.0.0.0/8]
admin: {listen: "127.0.0.1:$admin"}
routes:
  - {to: "*.bench.test", via: "127.0.0.1:$sink_port"}
YAML
  "$tarishi" serve --config "$d/tarishi.yaml" >"$d/log" 2>&1 &
  pid[tarishi]=$!
  listening "${port[tarishi]}" "${pid[tarishi]}" "$d/log"
}

# round SERVER COUNT FILE: one load; appends a JSON line to FILE.
round() {
  local -A log=([postfix]=postfix/maillog [haraka]=haraka/log [tarishi]=tarishi/log)
  measure "$@" && return 0
  if ! alive "${pid[$1]}"; then say "compare: $1 is no longer running"; fi
  say "compare: the end of its log:"; tail -20 "$work/${log[$1]}" >&2 || true
  return 1
}

measure() {
  local server=$1 count=$2 out=$3 before after
  "$tarishi" bench sink --listen "127.0.0.1:$sink_port" --expect "$count" --timeout "${timeout}s" \
    --linger 200ms --quiet --json >"$work/sink.json" 2>"$work/sink.err" &
  sink_pid=$!
  # The sink is not greeted here: a connection before the first message would count.
  for _ in $(seq 100); do
    grep -qi ":$(printf %04X "$sink_port") .* 0A " /proc/net/tcp && break
    alive "$sink_pid" || { cat "$work/sink.err" >&2; return 1; }
    sleep 0.05
  done
  alive "${pid[$server]}" || return 1
  before=$(cpu "${pid[$server]}")
  "$tarishi" bench source --to "127.0.0.1:${port[$server]}" --messages "$count" --connections "$connections" \
    --size "$size" --destinations "$destinations" --timeout "${timeout}s" --quiet --json \
    >"$work/source.json" 2>"$work/source.err" &
  source_pid=$!
  wait "$source_pid" || { source_pid=; say "compare: $server: $(cat "$work/source.err")"; return 1; }
  source_pid=
  wait "$sink_pid" || { sink_pid=; say "compare: $server: $(cat "$work/sink.err")"; return 1; }
  sink_pid=
  sleep 1 # removals, logs and the like belong to the message, too
  after=$(cpu "${pid[$server]}")
  jq -cn --arg server "$server" --argjson n "$count" --argjson ticks $((after - before)) \
    --argjson hz "$(getconf CLK_TCK)" --slurpfile so "$work/source.json" --slurpfile si "$work/sink.json" '
    $so[0] as $so | $si[0] as $si |
    {server: $server, messages: $n,
     per_second: ($n / (($si.last_distinct_unix_nanos - $so.first_mail_unix_nanos) / 1e9)),
     accept_per_second: $so.messages_per_second,
     cpu_us: ($ticks * 1e6 / $hz / $n),
     p50_ms: $so.accept_latency.p50_ms, p99_ms: $so.accept_latency.p99_ms,
     refused: $so.refused, duplicates: $si.duplicates, sink_connections: $si.connections}' | tee -a "$out" >/dev/null
}

command -v jq >/dev/null || die "jq is needed"
tarishi=${TARISHI:-}
if [ -z "$tarishi" ]; then
  say "compare: building tarishi"
  tarishi=$work/tarishi-bin
  (cd "$repo" && go build -o "$tarishi" ./cmd/tarishi) || die "tarishi does not build"
fi
free_port; sink_port=$REPLY
running=()
for s in $servers; do
  declare -F "start_$s" >/dev/null || die "unknown server $s"
  free_port; port[$s]=$REPLY
  if "start_$s"; then
    running+=("$s")
  else
    say "compare: $s did not start and is left out"
  fi
done
[ ${#running[@]} -gt 0 ] || die "no server runs"

results=$work/results.jsonl; : >"$results"
for s in "${running[@]}"; do
  say "compare: warming up $s"
  round "$s" $((messages / 10 + 100)) /dev/null || die "$s does not relay"
done
for r in $(seq "$rounds"); do
  for s in "${running[@]}"; do
    round "$s" "$messages" "$results" || die "$s failed in round $r"
    say "compare: round $r $(tail -1 "$results" | jq -r '"\(.server): \(.per_second|round)/s, \(.cpu_us|round) µs, p50 \(.p50_ms*100|round/100) ms"')"
  done
done

medians=$(jq -s '
  def median: sort | if length % 2 == 1 then .[(length-1)/2] else (.[length/2-1] + .[length/2]) / 2 end;
  group_by(.server) | map({server: .[0].server, rounds: length,
    per_second: (map(.per_second)|median), accept_per_second: (map(.accept_per_second)|median),
    cpu_us: (map(.cpu_us)|median), p50_ms: (map(.p50_ms)|median), p99_ms: (map(.p99_ms)|median),
    lowest: (map(.per_second)|min), highest: (map(.per_second)|max),
    refused: (map(.refused)|add), duplicates: (map(.duplicates)|add),
    sink_connections: (map(.sink_connections)|median)})' "$results")
if [ -n "$json" ]; then
  echo "$medians"
  exit 0
fi
echo
echo "$messages messages of $size bytes, $destinations destination(s), $connections connections, $rounds rounds, $(nproc) cores,"
echo "$(stat -f -c %T "$work") at $base, $(uname -sr)"
echo
jq -r '
  def r(d): . * pow(10; d) | round / pow(10; d) | tostring;
  (map(select(.server == "tarishi"))[0] // .[0]) as $ref |
  (["server", "msg/s", "lowest", "highest", "accepted/s", "cpu µs/msg", "p50 ms", "p99 ms", "sink conns", "refused", "dups", "speed vs \($ref.server)", "cpu vs \($ref.server)"]),
  (.[] | [.server, (.per_second|r(0)), (.lowest|r(0)), (.highest|r(0)), (.accept_per_second|r(0)), (.cpu_us|r(0)), (.p50_ms|r(2)), (.p99_ms|r(2)),
    (.sink_connections|r(0)), .refused, .duplicates, ((.per_second/$ref.per_second|r(2)) + "×"), ((.cpu_us/$ref.cpu_us|r(2)) + "×")])
  | @tsv' <<<"$medians" | column -t -s $'\t'
