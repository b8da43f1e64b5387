#!/usr/bin/env bash
# Give the principals of acls.csv their rights, and nobody anything else: acls.sh BROKERS ADMIN_PROPERTIES
#
# ADMIN_PROPERTIES is how Kafka's own tools sign in as one who may change ACLs. Kafka's bin folder has to be on PATH, or
# KAFKA_ACLS has to name its kafka-acls.sh. Said again, it changes nothing. Write and Read include Describe; what a
# principal needs for idempotent writes is the right to write (Kafka 3 and newer).
set -euo pipefail
[ $# = 2 ] || { echo "usage: $0 BROKERS ADMIN_PROPERTIES" >&2; exit 2; }

while IFS=, read -r principal resource name operations; do
  allowed=()
  for operation in $operations; do allowed+=(--operation "$operation"); done
  "${KAFKA_ACLS:-kafka-acls.sh}" --bootstrap-server "$1" --command-config "$2" --add \
    --allow-principal "User:$principal" "--$resource" "$name" --resource-pattern-type literal "${allowed[@]}" </dev/null
done < <(tail -n +2 "$(dirname "${BASH_SOURCE[0]}")/acls.csv")
