#!/bin/sh
# slowsync.sh prints what a slow disk costs: end-to-end messages a second (SMTP in, stored, SMTP out) of one node, on this
# disk as it is and with every fsync, fdatasync and syncfs made DELAY microseconds longer, as on a cloud block volume.
#
#   crashtest/slowsync.sh [MESSAGES [CONNECTIONS [DELAY]]]        default: 20000 messages, 50 connections, 2000 us
#
# The delay is injected by strace into the running program; nothing in the program knows of it. --seccomp-bpf lets all other
# system calls pass without a stop, so a delay of 0 (printed too) shows what the tracing itself costs. O_SYNC writes are not
# delayed. Needs strace, go, curl and three free ports.
set -eu
messages=${1:-20000} connections=${2:-50} delay=${3:-2000}
cd "$(dirname "$0")/.."
for tool in strace go curl; do
	command -v $tool >/dev/null || { echo "slowsync.sh: $tool is not installed" >&2; exit 2; }
done
dir=$(mktemp -d)
node= sink=
clean() {
	[ -n "$node" ] && kill "$node" 2>/dev/null && wait "$node" 2>/dev/null
	[ -n "$sink" ] && kill "$sink" 2>/dev/null && wait "$sink" 2>/dev/null
	rm -rf "$dir"
}
trap clean EXIT
trap 'exit 1' INT TERM
go build -o "$dir/tarishi" ./cmd/tarishi
smtp=127.0.0.1:${SMTP_PORT:-28525} admin=127.0.0.1:${ADMIN_PORT:-28825} out=127.0.0.1:${SINK_PORT:-28625}

# one NAME [COMMAND...]: a fresh node under COMMAND, one measured run.
one() {
	name=$1
	shift
	rm -rf "$dir/data"
	cat >"$dir/tarishi.yaml" <<-EOF
		hostname: slowsync.test
		data: "$dir/data"
		smtp: {listen: ["$smtp"]}
		admin: {listen: "$admin"}
		routes: [{to: "*", via: "$out"}]
		delivery: {connections: $connections}
		log: {level: warn}
	EOF
	"$@" "$dir/tarishi" serve --config "$dir/tarishi.yaml" >"$dir/node.log" 2>&1 &
	node=$!
	tries=0
	until curl -fs "http://$admin/readyz" >/dev/null 2>&1; do
		tries=$((tries + 1))
		if [ $tries -gt 300 ] || ! kill -0 "$node" 2>/dev/null; then
			echo "slowsync.sh: the node did not start:" >&2
			cat "$dir/node.log" >&2
			exit 1
		fi
		sleep 0.1
	done
	# The sink ends when it has every message.
	"$dir/tarishi" bench sink --listen "$out" --expect "$messages" --timeout 10m --quiet >"$dir/sink.log" 2>&1 &
	sink=$!
	began=$(date +%s%N)
	"$dir/tarishi" bench source --to "$smtp" --messages "$messages" --connections "$connections" >"$dir/source.log" 2>&1 || {
		cat "$dir/source.log" >&2
		exit 1
	}
	accepted=$(date +%s%N)
	wait "$sink" || { echo "slowsync.sh: not everything arrived:" >&2; cat "$dir/sink.log" "$dir/node.log" >&2; exit 1; }
	sink=
	ended=$(date +%s%N)
	printf '%-28s %8d msg/s accepted  %8d msg/s end to end\n' "$name" \
		$((messages * 1000000000 / (accepted - began))) $((messages * 1000000000 / (ended - began)))
	kill "$node"
	wait "$node" || true
	node=
}

trace="strace -D -f --seccomp-bpf -o /dev/null -e signal=none -e trace=fsync,fdatasync,syncfs"
echo "$messages messages, $connections connections"
one "this disk"
one "traced, no delay" $trace
one "every sync ${delay} us longer" $trace "--inject=fsync,fdatasync,syncfs:delay_exit=$delay"
