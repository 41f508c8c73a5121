"""Jobs in a form safe for Tune: Tune writes a trial's settings into its own files, and a storage's
address can contain a key.

Such an address stays in the cluster's memory, and the job only refers to it.
"""

import uuid

from ray.experimental import internal_kv

from hopsearch.core.redaction import holds_secret
from hopsearch.jobs.job import Job

_SCHEME = "sealed://"
_NAMESPACE = b"hopsearch"


def seal(job: Job) -> str:
    """A job as JSON without secrets; only for the connected cluster."""
    fence = job.fence and job.fence.model_copy(update={"uri": _put(job.fence.uri)})
    return job.model_copy(update={"mirror": _put(job.mirror), "fence": fence}).model_dump_json()


def unseal(text: str) -> Job:
    """The inverse of `seal`, on any machine of the cluster."""
    job = Job.model_validate_json(text)
    fence = job.fence and job.fence.model_copy(update={"uri": _get(job.fence.uri)})
    return job.model_copy(update={"mirror": _get(job.mirror), "fence": fence})


def _put(uri: str) -> str:
    if not holds_secret(uri):
        return uri
    key = uuid.uuid4().hex
    internal_kv._internal_kv_put(key.encode(), uri.encode(), namespace=_NAMESPACE)
    return _SCHEME + key


def _get(uri: str) -> str:
    if not uri.startswith(_SCHEME):
        return uri
    return bytes(
        internal_kv._internal_kv_get(uri.removeprefix(_SCHEME).encode(), namespace=_NAMESPACE)
    ).decode()
