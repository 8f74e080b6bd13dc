"""Sampling runs in a file."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import torch

from qcore._atomic import CheckpointError, replacing
from qcore.stats import Binning

from ._tally import Tally

_MARK = b"qcore sampling run, version 1\n"


def save_tally(path: Path, tally: Tally) -> None:
    """Write a run to `path`, whole or not at all.

    Raises:
        OSError: the file cannot be written; what was there stays.
    """
    content = {
        "hash": tally.hash,
        "version": tally.version,
        "name": tally.name,
        "observables": list(tally.observables),
        "config": json.dumps(tally.config),
        "warmup": tally.warmup,
        "keep": tally.keep,
        "warmed": tally.warmed,
        "sweeps": tally.sweeps,
        "seconds": tally.seconds,
        "state": {name: value.contiguous() for name, value in tally.state.items()},
        "accepted": tally.accepted,
        "series": tally.whole_series() if tally.series else None,
        "binning": None if tally.binning is None else tally.binning.state_dict(),
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    payload = buffer.getbuffer()
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(_MARK)
        file.write(hashlib.sha256(payload).hexdigest().encode() + b"\n")
        file.write(payload)


def load_tally(path: Path) -> Tally:
    """Read a run; nothing in the file is executed.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the file is no checkpoint of a sampling run, or is damaged.
    """
    content = path.read_bytes()
    if not content.startswith(_MARK):
        raise CheckpointError(f"{path}: expected a {_MARK.decode().strip()!r}, got a file of another kind")
    digest, _, payload = content[len(_MARK) :].partition(b"\n")
    # The checksum covers every byte: the reader of torch's format skips those of its own.
    if hashlib.sha256(payload).hexdigest().encode() != digest:
        raise CheckpointError(f"{path}: expected a whole checkpoint, got a damaged one (checksum)")
    try:
        parts = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
        tally = Tally(
            parts["name"],
            tuple(parts["observables"]),
            json.loads(parts["config"]),
            int(parts["warmup"]),
            bool(parts["keep"]),
            int(parts["warmed"]),
            int(parts["sweeps"]),
            float(parts["seconds"]),
            dict(parts["state"]),
            parts["accepted"],
            [] if parts["series"] is None else [parts["series"]],
            None if parts["binning"] is None else Binning.from_state_dict(parts["binning"]),
            0 if parts["series"] is None else 8 * parts["series"].numel(),
            parts["version"],
        )
    except Exception as error:  # torch.load raises whatever its unpickler and zip reader run into
        raise CheckpointError(f"{path}: expected a whole checkpoint, got a wrong part: {error}") from error
    if tally.hash != parts["hash"]:
        raise CheckpointError(f"{path}: expected the hash of its own configuration, got another")
    return tally
