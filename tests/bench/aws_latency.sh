#!/usr/bin/env bash
# How long a row takes from the answer of GetRecords to DynamoDB's acknowledgement, at a steady rate, over local servers on
# their usual ports; and how long that server takes alone.
#
#   tests/bench/aws_latency.sh BINARY [EVENTS_A_SECOND] [SECONDS]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
binary=$(realpath "${1:?the millstream binary, of a release build}")
rate=${2:-200}
seconds=${3:-60}
flagship=$root/pipelines/taxi_trips.yaml
work=$(mktemp -d)
pids=()
trap 'kill -KILL "${pids[@]}" 2>/dev/null || true; rm -rf "$work"' EXIT

"$root/tests/services/serve.sh" ${MILLSTREAM_SERVICES:+"$MILLSTREAM_SERVICES"} >"$work/exports" &
pids+=($!)
until [[ -s $work/exports ]]; do sleep 0.2; done
# shellcheck disable=SC1091
source "$work/exports"
for port in 4568 8001 8333 4566; do
  until (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do sleep 0.2; done
done
export LAKE_BUCKET=lake ALERT_TOPIC_ARN=arn:aws:sns:us-east-1:000000000000:alerts
export DEAD_LETTER_QUEUE_URL=http://127.0.0.1:4566/000000000000/dead NO_COLOR=1

cd "$work"
trips=$((rate * seconds / 2))
"$binary" run "$root/tests/bench/make_trips.yaml" --workers 1 --set "profiles.local.start_stream.generate.trips=$trips" \
  --set "profiles.local.end_stream.generate.trips=$trips" >/dev/null 2>&1
# A server may listen for a while before it can do its work.
until "$binary" resources "$flagship" --profile aws --create >/dev/null; do sleep 1; done
"$binary" run "$flagship" --profile aws >"$work/run.log" 2>&1 &
run=$!
pids+=("$run")
for stream in starts ends; do
  "$binary" produce "$flagship" "trip_$stream" --profile aws --partition-key trip_id --rate "$((rate / 2))" \
    --from target/bench/$stream/*.jsonl >/dev/null 2>&1 &
  producing+=($!)
done
wait "${producing[@]}"
kill -INT "$run"
wait "$run" || { cat "$work/run.log"; exit 1; }
grep -E 'stopped after|acknowledged|latency of rows' "$work/run.log"

# The server alone: writes of like size, one after the other.
python3 - <<'PY'
import http.client, json, time
server = http.client.HTTPConnection("127.0.0.1", 8001)
headers = {"X-Amz-Date": "20260101T000000Z", "X-Amz-Target": "DynamoDB_20120810.UpdateItem", "Content-Type": "application/x-amz-json-1.0",
           "Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0"}
took = []
for i in range(1000):
    update = {"TableName": "taxi_trip_details", "Key": {"trip_id": {"S": f"alone-{i}"}},
              "UpdateExpression": "SET #a = :a, #v = :v", "ConditionExpression": "attribute_not_exists(#v) OR #v < :v",
              "ExpressionAttributeNames": {"#a": "note", "#v": "_version"},
              "ExpressionAttributeValues": {":a": {"S": "x" * 400}, ":v": {"N": "1"}}}
    began = time.perf_counter()
    server.request("POST", "/", json.dumps(update), headers)
    answer = server.getresponse()
    said = answer.read()
    took.append((time.perf_counter() - began) * 1000)
    assert answer.status == 200, said
took.sort()
print(f"  the server alone, one write after the other: p50 {took[500]:.1f} ms, p99 {took[990]:.1f} ms")
PY
