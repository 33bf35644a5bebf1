#!/usr/bin/env bash
# Brings the mail systems that the smuggling test puts before and behind us: Postfix is
# installed with apt when it is missing (nothing of it is started); Exim, which cannot
# be installed beside it, is unpacked into FOLDER. Then: EXIM=FOLDER go test -tags soak …
#
#   crashtest/mtas.sh FOLDER
set -euo pipefail
folder=${1:?usage: crashtest/mtas.sh FOLDER}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)

if ! command -v postfix >/dev/null; then
  # Installing must not start a mail system on this host's port 25.
  printf '#!/bin/sh\nexit 101\n' >"$folder/policy-rc.d"
  chmod 755 "$folder/policy-rc.d"
  ours=
  [ -e /usr/sbin/policy-rc.d ] || { cp "$folder/policy-rc.d" /usr/sbin/policy-rc.d; ours=1; }
  trap '[ -z "$ours" ] || rm -f /usr/sbin/policy-rc.d' EXIT
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postfix
fi
[ -x "$folder/usr/sbin/exim4" ] && exit 0
cd "$folder"
apt-get update -qq
for package in exim4-daemon-light libidn12; do
  apt-get download -qq "$package"
  dpkg -x "$package"_*.deb .
done
# Not setuid: it is to run as the test starts it, with the libraries of its folder.
chmod 755 usr/sbin/exim4
LD_LIBRARY_PATH=$(echo "$folder"/usr/lib/*-linux-gnu) ldd usr/sbin/exim4 | grep 'not found' && { echo "mtas: Exim lacks libraries" >&2; exit 1; }
echo "Exim is in $folder" >&2
