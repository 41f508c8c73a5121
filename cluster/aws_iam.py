"""Once an account: the two instance profiles that aws.yaml names, with no more rights than they
need.

    python cluster/aws_iam.py BUCKET        # BUCKET: where studies are kept, storage=s3://BUCKET/…

Head: start, tag and end this project's machines, and hand the workers' role to them. Head and
workers: read and write the bucket. Run again, it brings the rights up to date. Needs boto3 (`pip
install 'hopsearch[aws]'`) and an administrator's keys.
"""

import contextlib
import json
import sys
from collections.abc import Iterator
from typing import Any

import boto3

HEAD, WORKER = "hopsearch-head", "hopsearch-worker"
Statement = dict[str, Any]


def bucket_rights(bucket: str) -> list[Statement]:
    """Read and write one bucket."""
    objects = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
    return [
        {"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": f"arn:aws:s3:::{bucket}"},
        {"Effect": "Allow", "Action": objects, "Resource": f"arn:aws:s3:::{bucket}/*"},
    ]


def machine_rights(account: str, cluster: str = "hopsearch") -> list[Statement]:
    """What the autoscaler on the head needs."""
    ours = {"StringEquals": {"ec2:ResourceTag/ray-cluster-name": cluster}}
    return [
        {"Effect": "Allow", "Action": ["ec2:Describe*", "ec2:RunInstances"], "Resource": "*"},
        {
            "Effect": "Allow",
            "Action": ["ec2:CreateTags"],
            "Resource": f"arn:aws:ec2:*:{account}:*/*",
        },
        {
            "Effect": "Allow",
            "Action": ["ec2:TerminateInstances"],
            "Resource": "*",
            "Condition": ours,
        },
        {
            "Effect": "Allow",
            "Action": ["iam:PassRole"],
            "Resource": f"arn:aws:iam::{account}:role/{WORKER}",
        },
        {
            "Effect": "Allow",
            "Action": ["ssm:GetParameters"],
            "Resource": "arn:aws:ssm:*::parameter/aws/service/*",
        },
    ]


@contextlib.contextmanager
def _unless_there(iam: Any) -> Iterator[None]:
    errors = iam.exceptions
    # The limit: a profile holds one role, and it is ours already. The input: a service-linked role
    # that the account has.
    with contextlib.suppress(
        errors.EntityAlreadyExistsException,
        errors.LimitExceededException,
        errors.InvalidInputException,
    ):
        yield


def make(bucket: str) -> None:
    """Make both profiles, or bring their rights up to date."""
    iam = boto3.client("iam")
    account = boto3.client("sts").get_caller_identity()["Account"]
    trust = {
        "Effect": "Allow",
        "Principal": {"Service": "ec2.amazonaws.com"},
        "Action": "sts:AssumeRole",
    }
    rights = {HEAD: machine_rights(account) + bucket_rights(bucket), WORKER: bucket_rights(bucket)}
    for role, statements in rights.items():
        with _unless_there(iam):
            iam.create_role(
                RoleName=role,
                AssumeRolePolicyDocument=json.dumps(
                    {"Version": "2012-10-17", "Statement": [trust]}
                ),
            )
        policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
        iam.put_role_policy(RoleName=role, PolicyName="hopsearch", PolicyDocument=policy)
        with _unless_there(iam):
            iam.create_instance_profile(InstanceProfileName=role)
        with _unless_there(iam):
            iam.add_role_to_instance_profile(InstanceProfileName=role, RoleName=role)
        print(f"{role} is ready")
    with _unless_there(iam):
        # without it, the first spot machine is refused
        iam.create_service_linked_role(AWSServiceName="spot.amazonaws.com")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("give the bucket, e.g. python cluster/aws_iam.py my-hopsearch")
    make(sys.argv[1])
