#!/usr/bin/env bash
# MLflow's server on PostgreSQL and an S3-compatible store, in the image. Secrets come from files that the variables *_FILE name.
# It listens on the loopback address unless MLFLOW_HOST says otherwise, as it does where a container's network is its own.
set -euo pipefail

AWS_ACCESS_KEY_ID=$(< "$AWS_ACCESS_KEY_ID_FILE")
AWS_SECRET_ACCESS_KEY=$(< "$AWS_SECRET_ACCESS_KEY_FILE")
export AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_DEFAULT_REGION=${AWS_DEFAULT_REGION:-us-east-1} AWS_EC2_METADATA_DISABLED=true
# By libpq's own variable: an argument would show it to every process of the host.
PGPASSWORD=$(< "$POSTGRES_PASSWORD_FILE")
export PGPASSWORD
# Ten processes of 230 MB less.
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false

python - "$ARTIFACT_BUCKET" "${RUN_BUCKET:-signray}" <<'PY'
import sys, time
import boto3
from botocore.exceptions import BotoCoreError, ClientError

store = boto3.client("s3")
for attempt in range(60):
    try:
        for bucket in set(sys.argv[1:]) - {entry["Name"] for entry in store.list_buckets()["Buckets"]}:
            store.create_bucket(Bucket=bucket)
        break
    except (BotoCoreError, ClientError) as error:
        print(f"the object store isn't ready ({error}); again in 2 s", flush=True)
        time.sleep(2)
else:
    sys.exit("the object store did not come up: look at its log")
PY

exec mlflow server --host "${MLFLOW_HOST:-127.0.0.1}" --port "${MLFLOW_PORT:-5000}" --workers "${MLFLOW_WORKERS:-2}" \
  --backend-store-uri "postgresql+psycopg2://mlflow@$POSTGRES_HOST:${POSTGRES_PORT:-5432}/mlflow" \
  --artifacts-destination "s3://$ARTIFACT_BUCKET" --allowed-hosts "${MLFLOW_ALLOWED_HOSTS:-mlflow,mlflow:5000,localhost:5000,127.0.0.1:5000}"
