#!/usr/bin/env bash
# Local servers that speak the APIs of AWS, in pinned versions, for tests and trials. Linux on x86-64.
#
#   serve.sh [FOLDER]               all of them on their usual ports until Ctrl-C; says what to export
#   serve.sh install FOLDER         installs them into FOLDER, where that is not done
#   serve.sh keep FOLDER SERVER     runs one on free ports for as long as somebody holds a lock on FOLDER/SERVER/users;
#                                   its address stands in FOLDER/SERVER/endpoint. This is how tests start them.
#
# SERVER is kinesis, dynamodb, s3 or ministack (SQS, SNS, CloudWatch, and Kinesis with fan-out).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# Seconds that a server outlives its last user.
linger=${MILLSTREAM_SERVICES_LINGER:-60}

fail() { printf 'error: %s\n' "$1" >&2; exit 1; }

needs() {
  command -v "$1" >/dev/null || fail "the local AWS servers need \`$1\`, and it is not on the PATH: install $2"
}

install() {
  local folder=$1 made
  needs npm 'Node.js 18 or later'
  needs node 'Node.js 18 or later'
  needs python3 'Python 3.10 or later'
  needs setpriv util-linux
  needs flock util-linux
  made=$(cat "$here/package-lock.json" "$here/requirements.txt" | cksum)
  mkdir -p "$folder"
  exec 8>"$folder/install.lock"
  flock 8
  if [[ $(cat "$folder/installed" 2>/dev/null) != "$made" ]]; then
    rm -f "$folder/installed"
    cp "$here/package.json" "$here/package-lock.json" "$folder/"
    (cd "$folder" && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error) >&2 ||
      fail 'npm cannot install the servers of tests/services/package-lock.json: the AWS tests cannot run without it'
    python3 -m venv --clear "$folder/venv" >&2 || fail 'python3 cannot make a virtual environment (on Debian: python3-venv)'
    "$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile --require-hashes \
      -r "$here/requirements.txt" >&2 ||
      fail 'pip cannot install the servers of tests/services/requirements.txt: the AWS tests cannot run without it'
    printf '%s\n' "$made" >"$folder/installed"
  fi
  exec 8>&-
}

# Prints N ports that are free now.
free_ports() {
  python3 - "$1" <<'PY'
import socket, sys
sockets = [socket.socket() for _ in range(int(sys.argv[1]))]
for s in sockets: s.bind(("127.0.0.1", 0))
print(*(s.getsockname()[1] for s in sockets))
PY
}

# Becomes a server that dies with its parent; the first port is that of its API. Data is in DATA and begins empty.
become() {
  local folder=$1 server=$2 data=$3
  shift 3
  local dies=(setpriv --pdeathsig KILL)
  # A server that finds credentials here would want requests signed with them.
  unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN
  case $server in
    kinesis)
      export KINESIS_MOCK_CERT_PATH=$folder/node_modules/kinesis-local/server.json
      export KINESIS_MOCK_PLAIN_PORT=$1 KINESIS_MOCK_TLS_PORT=$2 LOG_LEVEL=ERROR
      # Tests share it, each with its own streams, and what takes AWS a while takes no test's time.
      export SHARD_LIMIT=10000 ON_DEMAND_STREAM_COUNT_LIMIT=10000
      for step in CREATE_STREAM DELETE_STREAM SPLIT_SHARD MERGE_SHARDS UPDATE_SHARD_COUNT REGISTER_STREAM_CONSUMER \
        DEREGISTER_STREAM_CONSUMER; do
        export "${step}_DURATION=20ms"
      done
      exec "${dies[@]}" node --max-old-space-size=1024 "$folder/node_modules/kinesis-local/main.js"
      ;;
    dynamodb)
      exec "${dies[@]}" "$folder/node_modules/@dynoxide/linux-x64/dynoxide" serve --host 127.0.0.1 --port "$1"
      ;;
    s3)
      mkdir -p "$data"
      exec "${dies[@]}" "$folder/venv/bin/weed" -logtostderr server -ip=127.0.0.1 -ip.bind=127.0.0.1 -dir="$data" \
        -s3 -s3.port="$1" -s3.port.grpc="$2" -s3.port.iceberg=0 -s3.port.lance=0 -s3.localSocket="$data/s3.sock" \
        -filer -filer.port="$3" -filer.port.grpc="$4" -filer.localSocket="$data/filer.sock" \
        -master.port="$5" -master.port.grpc="$6" -master.telemetry=false -master.volumeSizeLimitMB=256 \
        -master.electionTimeout=1s -volume.port="$7" -volume.port.grpc="$8" -volume.max=200 \
        -volume.minFreeSpace=1 -volume.preStopSeconds=0
      ;;
    ministack)
      export BIND_HOST=127.0.0.1 GATEWAY_PORT=$1 SFTP_ENABLED=0 LOG_LEVEL=WARNING PERSIST_STATE=0
      export SERVICES=sqs,sns,cloudwatch,kinesis,sts
      exec "${dies[@]}" "$folder/venv/bin/ministack"
      ;;
    *) fail "there is no server \`$server\`: kinesis, dynamodb, s3 or ministack" ;;
  esac
}

keep() {
  local folder=$1 server=$2 place=$1/$2 idle=0 ports pid
  mkdir -p "$place"
  rm -rf "$place/data" "$place/endpoint"
  read -ra ports <<<"$(free_ports 8)"
  exec 9>>"$place/users"
  become "$folder" "$server" "$place/data" "${ports[@]}" >"$place/log" 2>&1 9>&- &
  pid=$!
  trap 'rm -rf "$place/endpoint"; kill -KILL "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; rm -rf "$place/data"' EXIT
  trap 'exit 0' TERM INT
  printf 'http://127.0.0.1:%s\n' "${ports[0]}" >"$place/endpoint.new"
  mv "$place/endpoint.new" "$place/endpoint"
  while kill -0 "$pid" 2>/dev/null; do
    sleep 1 9>&-
    if flock --exclusive --nonblock 9; then
      idle=$((idle + 1))
      # The lock is kept: who waits for it finds no endpoint afterwards.
      ((idle < linger)) || exit 0
      flock --unlock 9
    else
      idle=0
    fi
  done
  printf 'the server %s has ended by itself\n' "$server" >&2
  exit 1
}

everything() {
  local folder=$1 pids=() spare
  install "$folder"
  read -ra spare <<<"$(free_ports 8)"
  mkdir -p "$folder/by-hand"
  rm -rf "$folder/by-hand/data"
  start() {
    local server=$1
    shift
    become "$folder" "$server" "$folder/by-hand/data" "$@" >"$folder/by-hand/$server.log" 2>&1 &
    pids+=($!)
  }
  start kinesis 4568 4567
  start dynamodb 8001
  start s3 8333 "${spare[@]:0:7}"
  start ministack 4566
  trap 'kill -KILL "${pids[@]}" 2>/dev/null || true' EXIT
  trap 'exit 0' TERM INT
  cat <<EXPORTS
export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_REGION=us-east-1
export AWS_ENDPOINT_URL_KINESIS=http://127.0.0.1:4568
export AWS_ENDPOINT_URL_DYNAMODB=http://127.0.0.1:8001
export AWS_ENDPOINT_URL_S3=http://127.0.0.1:8333
export AWS_ENDPOINT_URL_SQS=http://127.0.0.1:4566
export AWS_ENDPOINT_URL_SNS=http://127.0.0.1:4566
export AWS_ENDPOINT_URL_CLOUDWATCH=http://127.0.0.1:4566
EXPORTS
  printf 'They start in a few seconds; their logs are in %s. Ctrl-C stops them.\n' "$folder/by-hand" >&2
  wait -n "${pids[@]}" || true
  fail "a server has ended: see the logs in $folder/by-hand"
}

folder=$(realpath -m "${2:-${1:-$here/../../target/services}}")
case ${1:-} in
  install) [[ $# == 2 ]] || fail 'serve.sh install FOLDER'; install "$folder" ;;
  keep) [[ $# == 3 ]] || fail 'serve.sh keep FOLDER SERVER'; keep "$folder" "$3" ;;
  *) everything "$folder" ;;
esac
