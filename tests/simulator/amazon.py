"""Amazon's own SDK as a client of the simulated Bedrock, and what its tests ask."""

from __future__ import annotations

from typing import Any

import boto3
from botocore.config import Config

from simulator.bedrock.signature import ACCESS_KEY, SECRET_KEY

SONNET = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
MICRO = "us.amazon.nova-micro-v1:0"


def amazon(root: str, secret: str = SECRET_KEY, access: str = ACCESS_KEY) -> Any:
    return boto3.client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url=root,
        aws_access_key_id=access,
        aws_secret_access_key=secret,
        config=Config(retries={"total_max_attempts": 1}, read_timeout=10),
    )


def user(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"text": text}]}]
