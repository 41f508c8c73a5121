#!/bin/sh
# Once an account: the two instance profiles that aws.yaml names, with no more rights than they need.
#   sh cluster/aws-iam.sh BUCKET        (BUCKET: where studies are kept, storage=s3://BUCKET/…)
# Head: start, tag and end this project's machines, and hand the workers' role to them. Both: read and write the bucket.
set -eu
bucket="${1:?give the bucket, e.g. sh cluster/aws-iam.sh my-hopsearch}"
account=$(aws sts get-caller-identity --query Account --output text)
trust='{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}'
storage='{"Effect":"Allow","Action":["s3:ListBucket"],"Resource":"arn:aws:s3:::'$bucket'"},
  {"Effect":"Allow","Action":["s3:GetObject","s3:PutObject","s3:DeleteObject"],"Resource":"arn:aws:s3:::'$bucket'/*"}'
machines='{"Effect":"Allow","Action":["ec2:Describe*","ec2:RunInstances"],"Resource":"*"},
  {"Effect":"Allow","Action":["ec2:CreateTags"],"Resource":"arn:aws:ec2:*:'$account':*/*"},
  {"Effect":"Allow","Action":["ec2:TerminateInstances"],"Resource":"*","Condition":{"StringEquals":{"ec2:ResourceTag/ray-cluster-name":"hopsearch"}}},
  {"Effect":"Allow","Action":"iam:PassRole","Resource":"arn:aws:iam::'$account':role/hopsearch-worker"}'
for role in hopsearch-head hopsearch-worker; do
  rights="$storage"
  [ "$role" = hopsearch-worker ] || rights="$machines,$storage"
  aws iam create-role --role-name "$role" --assume-role-policy-document "$trust" > /dev/null 2>&1 || true
  aws iam put-role-policy --role-name "$role" --policy-name hopsearch --policy-document '{"Version":"2012-10-17","Statement":['"$rights"']}'
  aws iam create-instance-profile --instance-profile-name "$role" > /dev/null 2>&1 || true
  aws iam add-role-to-instance-profile --instance-profile-name "$role" --role-name "$role" > /dev/null 2>&1 || true
  echo "$role is ready"
done
