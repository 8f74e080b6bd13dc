"""Averages over weighted paths: <O> = sum w O / sum w, from log-weights that may be complex.

Real-time weights are phases, whose sum vanishes exponentially against the sum of their moduli while its error
does not: the sign problem. The ratio of the two, the average phase, is measured along with every expectation,
and where it drowns in its error there is no result but a `SignProblemError`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from qcore._ops._check import require_tensor, shape, wrong_type, wrong_value
from qcore.stats import Jackknife
from qcore.stats._jackknife import leave_one_out, without_each

BLOCKS = 64  # of equal size are kept for errors, or more, but fewer than twice as many
_SIGNIFICANT = 5.0  # average phase in units of its error
_ENOUGH = 30.0  # effective samples, N phase^2 of complex weights


class SignProblemError(ArithmeticError):
    """Phases cancel so far that an expectation would be noise.

    Attributes:
        average_phase: \\|sum w\\| / sum \\|w\\| as measured.
        error: its standard error.
        samples: how many there were.
        samples_needed: how many it would take at this average phase; if that itself is noise, more.
    """

    def __init__(self, average_phase: float, error: float, samples: int, samples_needed: float) -> None:
        self.average_phase = average_phase
        self.error = error
        self.samples = samples
        self.samples_needed = samples_needed
        noise = average_phase < _SIGNIFICANT * error
        super().__init__(
            f"average phase: expected at least {_SIGNIFICANT:g} times its error and {_ENOUGH:g} effective "
            f"samples (N phase^2), got {average_phase:.3g} with error {error:.2g} from {samples} samples; "
            f"that takes {'more than' if noise else 'about'} {samples_needed:.3g} samples"
        )


@dataclass(frozen=True, eq=False)
class Expectation:
    """A weighted average with its error.

    Attributes:
        mean: sum w O / sum w, of the shape of one observable; complex128 or float64.
        error: standard error; where `mean` is complex its parts are the errors of the parts of `mean`.
        average_phase: \\|sum w\\| / sum \\|w\\|, 1 for positive weights.
        average_phase_error: its standard error.
        ess: effective sample size of the moduli, (sum \\|w\\|)^2 / sum \\|w\\|^2.
        samples: how many there were.
        unreliable: why the error should not be trusted; empty where nothing speaks against it.
    """

    mean: Tensor
    error: Tensor
    average_phase: float
    average_phase_error: float
    ess: float
    samples: int
    unreliable: str
    _ratio: Jackknife = field(repr=False)

    @property
    def covariance(self) -> Tensor:
        """(m, m) of the m flattened entries of `mean`; where complex (2m, 2m), real parts first."""
        m = self.mean.numel()
        return self._ratio.covariance if self.mean.is_complex() else self._ratio.covariance[:m, :m]


class _Sums(NamedTuple):
    """Sums over the samples of each of B blocks, the weights of a block divided by its largest, e^top."""

    number: Tensor  # (B,) of samples, float64
    top: Tensor  # (B,) largest real part of a log-weight
    w: Tensor  # (B,) complex
    modulus: Tensor  # (B,) sum |w|
    square: Tensor  # (B,) sum |w|^2
    wo: Tensor  # (B, m) complex, sum w O

    @classmethod
    def of(cls, log_w: Tensor, o: Tensor) -> _Sums:
        """Of log-weights (B, s) and observables (B, s, m), both complex."""
        top = log_w.real.amax(1)
        # A block of zero weights has nothing to be divided by; what is nan or +inf makes sums that are nan.
        shift = torch.where(top == -math.inf, 0.0, top)
        w = torch.polar((log_w.real - shift[:, None]).exp(), log_w.imag)
        w = torch.where(log_w.real == -math.inf, torch.zeros_like(w), w)
        modulus = w.abs()
        number = torch.full_like(top, log_w.shape[1])
        sums = map(_sum, (w, modulus, modulus**2, w[:, None, :] * o.transpose(1, 2)))
        return cls(number, top, *sums)

    def at(self, top: Tensor) -> _Sums:
        """The same sums with weights divided by another e^top, (B,) or one."""
        scale = torch.where(self.top == -math.inf, 0.0, (self.top - top).exp())
        return _Sums(
            self.number,
            top.expand_as(self.top),
            self.w * scale,
            self.modulus * scale,
            self.square * scale**2,
            self.wo * scale[:, None],
        )

    def joined(self, other: _Sums) -> _Sums:
        """Block by block together with others."""
        top = torch.maximum(self.top, other.top)
        a, b = self.at(top), other.at(top)
        sums = (x + y for x, y in zip(a[2:], b[2:], strict=True))
        return _Sums(a.number + b.number, top, *sums)

    def then(self, other: _Sums) -> _Sums:
        """These blocks, then the others."""
        return _Sums(*(torch.cat(pair) for pair in zip(self, other, strict=True)))

    def part(self, which: slice) -> _Sums:
        """Some of the blocks."""
        return _Sums(*(sums[which] for sums in self))


class Weights:
    """Sums over weighted samples that come in batches, in memory that does not grow with their number.

    Samples are gathered in their order in 64 to 127 blocks of equal size, which errors come from: correlated
    samples, such as a Markov chain's, get right errors once a block is long compared with their correlation.

    Args:
        observable_shape: of the observable of one sample.
    """

    def __init__(self, observable_shape: tuple[int, ...] = ()) -> None:
        self.observable_shape = tuple(observable_shape)
        self._entries = math.prod(self.observable_shape)
        self._size = 1  # samples in a block
        self._blocks = self._rest = self._none()  # the rest: at most one block, not yet full
        self._complex_weights = self._complex_observable = False

    @property
    def samples(self) -> int:
        """Taken in so far."""
        return int(self._blocks.number.sum() + self._rest.number.sum())

    def add(self, log_weights: Tensor, observable: Tensor | None = None) -> None:
        """Take in samples that follow the ones before.

        Args:
            log_weights: (n,) log w, real or complex; -inf is a weight of 0.
            observable: (n, *observable_shape), real or complex; 1 if None.

        Raises:
            TypeError, ValueError: an argument of the wrong type or shape.
        """
        log_w, o = self._checked(log_weights, observable)
        n = log_w.shape[0]
        while (self.samples + n) // self._size >= 2 * BLOCKS:
            self._coarsen()
        at = min(n, self._size - int(self._rest.number.sum())) if self._rest.number.numel() else 0
        if at:
            self._extend_rest(_Sums.of(log_w[None, :at], o[None, :at]))
        whole = (n - at) // self._size
        end = at + whole * self._size
        if whole:
            shape_ = (whole, self._size)
            blocks = _Sums.of(log_w[at:end].reshape(shape_), o[at:end].reshape(*shape_, self._entries))
            self._blocks = self._blocks.then(blocks)
        if end < n:
            self._extend_rest(_Sums.of(log_w[None, end:], o[None, end:]))

    def merge(self, other: Weights) -> Weights:
        """Both sets of samples together; neither of them is changed.

        Raises:
            TypeError, ValueError: `other` is none, or of another observable shape.
        """
        if not isinstance(other, Weights):
            raise wrong_type("other", "Weights", type(other).__name__)
        if other.observable_shape != self.observable_shape:
            raise wrong_value(
                "other", f"observables of shape {self.observable_shape}", other.observable_shape
            )
        a, b = self._copy(), other._copy()
        while a._size < b._size:
            a._coarsen()
        while b._size < a._size:
            b._coarsen()
        a._blocks = a._blocks.then(b._blocks)
        if b._rest.number.numel():
            a._extend_rest(b._rest)
        a._complex_weights |= b._complex_weights
        a._complex_observable |= b._complex_observable
        while a._blocks.number.numel() >= 2 * BLOCKS:
            a._coarsen()
        return a

    @property
    def ess(self) -> float:
        """Effective sample size of the moduli, (sum \\|w\\|)^2 / sum \\|w\\|^2; nan without samples."""
        sums = self._on_one_scale()
        return float(sums.modulus.sum() ** 2 / sums.square.sum())

    @property
    def average_phase(self) -> tuple[float, float]:
        """\\|sum w\\| / sum \\|w\\| and its standard error."""
        if not self._complex_weights:
            total = float(self._on_one_scale().modulus.sum())
            return (1.0, 0.0) if total > 0.0 else (math.nan, math.nan)
        # Rounding may bring the sum of the moduli below the modulus of the sum.
        phase = self._leave_out(lambda sums: (sums.w.abs() / sums.modulus).clamp(max=1.0))
        return float(phase.value), float(phase.error)

    @property
    def log_mean(self) -> tuple[Tensor, Tensor]:
        """log of the average weight, such as a ratio of partition functions, and its standard error.

        Complex where the weights are: the imaginary part is the angle of the sum, with its error.
        """
        sums = self._on_one_scale()
        mean = sums.w.sum() / sums.number.sum()
        # Logarithms of ratios to the mean, so that no angle is cut at pi.
        error = self._leave_out(lambda left: (left.w / left.number / mean).log()).error
        value = mean.log() + sums.top[0]
        return (value, error) if self._complex_weights else (value.real, error.real)

    def expectation(self) -> Expectation:
        """<O> = sum w O / sum w, with an error that knows how numerator and denominator vary together.

        Raises:
            SignProblemError: the average phase of complex weights is less than 5 of its errors, or of N
                samples N phase^2 are fewer than 30.
        """
        phase, phase_error = self.average_phase
        if self._complex_weights:
            _refuse_noise(phase, phase_error, self.samples)
        ratio = self._leave_out(lambda sums: sums.wo / sums.w[:, None])
        real = not (self._complex_weights or self._complex_observable)
        error = ratio.error.real if real else ratio.error
        why = ratio.unreliable
        if not why and self.ess < _ENOUGH:
            why = f"effective sample size {self.ess:.1f}"
        return Expectation(
            (ratio.value.real if real else ratio.value).reshape(self.observable_shape),
            error.reshape(self.observable_shape),
            phase,
            phase_error,
            self.ess,
            self.samples,
            why,
            ratio,
        )

    def _leave_out(self, function: Callable[[_Sums], Tensor]) -> Jackknife:
        """A function of the sums of all samples, with its jackknife over blocks."""
        sums = self._on_one_scale()
        total = _Sums(*(x.sum(0, keepdim=True) for x in sums))
        if sums.number.numel() == 1:
            return leave_one_out(function(total)[0], function(total))
        return leave_one_out(function(total)[0], function(_Sums(*(without_each(x) for x in sums))))

    def _on_one_scale(self) -> _Sums:
        """All blocks, their weights divided by the largest of all; one block of nan where there are none."""
        sums = self._all()
        if not sums.number.numel():
            nan = torch.full((1,), math.nan, dtype=torch.float64)
            complex_nan = nan.to(torch.complex128)
            return _Sums(nan, nan, complex_nan, nan, nan, complex_nan[:, None].expand(1, self._entries))
        top = sums.top.amax()
        return sums.at(torch.where(top == -math.inf, 0.0, top))

    def _all(self) -> _Sums:
        """The blocks; a rest of half a block or more is one too, a smaller one belongs to the last."""
        if not self._rest.number.numel():
            return self._blocks
        if not self._blocks.number.numel() or 2 * int(self._rest.number) >= self._size:
            return self._blocks.then(self._rest)
        last = self._blocks.part(slice(-1, None)).joined(self._rest)
        return self._blocks.part(slice(None, -1)).then(last)

    def _extend_rest(self, sums: _Sums) -> None:
        self._rest = self._rest.joined(sums) if self._rest.number.numel() else sums
        if int(self._rest.number) >= self._size:
            self._blocks, self._rest = self._blocks.then(self._rest), self._none()

    def _coarsen(self) -> None:
        """Blocks of twice the size; one without a neighbour goes to the rest."""
        even = self._blocks.number.numel() // 2 * 2
        pairs, odd = self._blocks.part(slice(0, even)), self._blocks.part(slice(even, None))
        self._size *= 2
        self._blocks = pairs.part(slice(0, None, 2)).joined(pairs.part(slice(1, None, 2)))
        if odd.number.numel():
            self._extend_rest(odd)

    def _copy(self) -> Weights:
        twin = Weights(self.observable_shape)
        twin.__dict__.update(self.__dict__)  # the tensors are never written to
        return twin

    def _none(self) -> _Sums:
        real = torch.zeros(0, dtype=torch.float64)
        complex_ = torch.zeros(0, self._entries, dtype=torch.complex128)
        return _Sums(real, real, complex_.new_zeros(0), real, real, complex_)

    def _checked(self, log_weights: Any, observable: Any) -> tuple[Tensor, Tensor]:
        require_tensor("log_weights", log_weights)
        if log_weights.ndim != 1:
            raise wrong_value("log_weights", "shape (n,)", shape(log_weights))
        n = log_weights.shape[0]
        if observable is None:
            observable = torch.ones(n, *self.observable_shape, dtype=torch.float64)
        require_tensor("observable", observable)
        if tuple(observable.shape) != (n, *self.observable_shape):
            raise wrong_value("observable", f"shape {(n, *self.observable_shape)}", shape(observable))
        for name, value in (("log_weights", log_weights), ("observable", observable)):
            if not (value.is_floating_point() or value.is_complex()):
                raise wrong_type(name, "real or complex numbers", value.dtype)
        self._complex_weights |= log_weights.is_complex()
        self._complex_observable |= observable.is_complex()
        log_w = log_weights.detach().cpu().to(torch.complex128)
        return log_w, observable.detach().cpu().to(torch.complex128).reshape(n, self._entries)


def weights(log_weights: Tensor, observable: Tensor | None = None) -> Weights:
    """Sums over weighted samples, to be added to, merged with others, and asked for averages.

    Args:
        log_weights: (n,) log w, real or complex: -S_E / hbar of Euclidean paths, i S / hbar of real-time
            ones; -inf is a weight of 0.
        observable: (n, ...), real or complex; None where only the weights matter.

    Returns:
        Weights.

    Raises:
        TypeError, ValueError: an argument of the wrong type or shape.
    """
    sums = Weights(tuple(observable.shape[1:]) if isinstance(observable, Tensor) else ())
    sums.add(log_weights, observable)
    return sums


def expectation(log_weights: Tensor, observable: Tensor) -> Expectation:
    """<O> = sum w O / sum w over samples with log-weights, its error, and the average phase.

    Args:
        log_weights, observable: as in :func:`weights`, whose `expectation()` this is; for samples in batches
            or from several runs use that.

    Returns:
        Expectation.

    Raises:
        SignProblemError: the average phase of complex weights is less than 5 of its errors, or of N samples
            N phase^2 are fewer than 30.
        TypeError, ValueError: an argument of the wrong type or shape.
    """
    return weights(log_weights, observable).expectation()


def _sum(x: Tensor) -> Tensor:
    """Over the last axis, by NumPy: torch would share a long sum among threads and round by their number."""
    return torch.from_numpy(np.asarray(x.contiguous().numpy().sum(-1)))


def _refuse_noise(phase: float, error: float, samples: int) -> None:
    if samples == 0 or not math.isfinite(phase):
        return  # nan, as the mean
    if abs(1.0 - phase) <= 1e-12 * samples**0.5:
        return  # no phases at all
    if phase < _SIGNIFICANT * error or samples * phase**2 < _ENOUGH or not math.isfinite(error):
        needed = _ENOUGH / phase**2 if phase > 0 else math.inf
        if math.isfinite(error) and phase > 0:
            needed = max(needed, samples * (_SIGNIFICANT * error / phase) ** 2)
        raise SignProblemError(phase, error, samples, needed)
