"""A cloud on one machine: `ray up` for real, on machines made of Linux namespaces, against an
emulated EC2, IAM and S3.
"""
