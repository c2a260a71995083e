#!/bin/bash
# Keeps Ray running on a server without Docker, Slurm or Kubernetes; the arguments are those of `ray start`.
#   bash cluster/node.sh --head --port=6379          on the head
#   bash cluster/node.sh --address=HEAD:6379         on every other one
# A node that was counted as lost (its network was away, its host slept) ends its Ray as soon as it is heard of again, and only a new one
# may join: hence the loop. The head's loop gives its nodes their head back, where Redis keeps its state (RAY_REDIS_ADDRESS).
set -uo pipefail
set -a  # the site's settings are for everything that starts below
# shellcheck source=/dev/null
. "${SIGNRAY_SITE:-$(dirname "$0")/site.env}"
set +a
stopped=
trap 'stopped=1; kill -TERM "${ray:-}" 2>/dev/null' TERM INT
while :; do
  ray start --block --disable-usage-stats "$@" &
  ray=$!
  while :; do  # a trap ends `wait` early
    wait "$ray"
    code=$?
    kill -0 "$ray" 2>/dev/null || break
  done
  [[ $stopped ]] && exit 0
  (( code == 2 )) && exit 2  # a wrong option stays wrong
  echo "ray start ended with $code: again in 2 s"
  sleep 2
done
