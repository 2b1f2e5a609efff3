"""A pool on another machine: HTTP alone, numpy in and out, neither Django nor a browser here.

Installed it is `webpool.client`, of the package `webpool-client` (and of `webpool`, which has it too).

    from webpool.client import Client

    with Client("https://pool.example", key="wp_…") as pool:      # or WEBPOOL_URL and WEBPOOL_API_KEY
        answer = pool.infer("minilm", {"input_ids": np.array([[101, 7592, 102]])})
        answer["sentence_embedding"], answer.browsers

errors.py    what is raised
tensors.py   arrays as the Open Inference Protocol carries them
answers.py   what the pool says, typed
calls.py     each request, and how its answer is read: no connection in it
clients.py   Client and AsyncClient, which send them
"""

from .answers import Answer, Comparison, Model, Run
from .calls import Compared, Options, Wishes
from .clients import AsyncClient, Client
from .errors import Busy, NotFound, PoolError, Unauthorised, Unreachable

__all__ = [
    "Answer",
    "AsyncClient",
    "Busy",
    "Client",
    "Compared",
    "Comparison",
    "Model",
    "NotFound",
    "Options",
    "PoolError",
    "Run",
    "Unauthorised",
    "Unreachable",
    "Wishes",
]
