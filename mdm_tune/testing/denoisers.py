"""The conformance suite of denoisers."""

from __future__ import annotations

import torch
from torch import Tensor

from mdm_tune.denoisers.base import Denoiser, linear_head_of, parts_of
from mdm_tune.testing.checks import require

__all__ = ["DenoiserConformance"]


class DenoiserConformance:
    """What a denoiser must do. Inherit it in a class of tests and override ``build``; pytest then runs every rule.

    Attributes:
        length: Tokens of a row, at least 4.
        tolerance: The largest difference of probabilities that counts as equal; raise it for bfloat16.
        pads: Whether rows of different lengths may share a call, with -1 at padding.
    """

    length = 8
    tolerance = 1e-5
    pads = True

    def build(self) -> Denoiser:
        """Return the denoiser."""
        raise NotImplementedError("override build: it returns the denoiser")

    def texts(self) -> Tensor:
        """Return three different rows (3, length) int64 without a mask; random by default, which a law may forbid."""
        denoiser, generator = self.build(), torch.Generator().manual_seed(0)
        tokens = [token for token in range(denoiser.vocab_size) if token != denoiser.mask_id]
        return torch.tensor(tokens)[torch.randint(len(tokens), (3, self.length), generator=generator)]

    def test_attributes_are_whole_numbers(self) -> None:
        """``vocab_size`` and ``mask_id``."""
        denoiser = self.build()
        for name, least in (("vocab_size", 1), ("mask_id", 0)):
            value = getattr(denoiser, name, None)
            kept = isinstance(value, int) and not isinstance(value, bool) and value >= least
            require(kept, f"{name} must be a whole number of at least {least}", value)

    def test_logits_of_the_wanted_positions_only(self) -> None:
        """One row of float logits per wanted position, each with a finite one, and never NaN or +inf."""
        denoiser, (tokens, wanted) = self.build(), self._some()
        one = torch.zeros_like(wanted)
        one[1, int(wanted[1].nonzero()[0])] = True
        for positions in (wanted, one):
            logits = denoiser(tokens.clone(), positions.clone())
            expected = (int(positions.sum()), denoiser.vocab_size)
            require(tuple(logits.shape) == expected, f"logits must have the shape {expected}", tuple(logits.shape))
            require(logits.is_floating_point(), "logits must be floats", logits.dtype)
            require(bool(torch.isfinite(logits.amax(1)).all()), "each position must have a finite logit, and no +inf")
            require(not bool(logits.isnan().any()), "no logit may be NaN")

    def test_the_mask_is_never_predicted(self) -> None:
        """Its logit is -inf, if it has one."""
        denoiser, (tokens, wanted) = self.build(), self._some()
        if denoiser.mask_id < denoiser.vocab_size:
            logits = denoiser(tokens, wanted)[:, denoiser.mask_id]
            require(bool((logits == -torch.inf).all()), "the logit of the mask must be -inf", logits[0].item())

    def test_equal_calls_give_equal_results(self) -> None:
        """Without dropout, and without a random number."""
        denoiser, (tokens, wanted) = self.build(), self._some()
        first, again = (denoiser(tokens.clone(), wanted.clone()) for _ in range(2))
        require(torch.equal(first, again), "equal calls must give equal results")

    def test_the_arguments_are_not_changed(self) -> None:
        """Neither the tokens nor the wanted positions."""
        tokens, wanted = self._some()
        given = tokens.clone(), wanted.clone()
        self.build()(*given)
        require(torch.equal(given[0], tokens) and torch.equal(given[1], wanted), "a call must not change its arguments")

    def test_a_row_does_not_depend_on_the_others(self) -> None:
        """Nor on their order."""
        denoiser, (tokens, wanted) = self.build(), self._some()
        together = self._law(denoiser, tokens, wanted)
        alone = torch.cat([self._law(denoiser, tokens[i : i + 1], wanted[i : i + 1]) for i in range(len(tokens))])
        self._equal(together, alone, "a row must be predicted alike with and without other rows")
        turned = self._law(denoiser, tokens.flip(0), wanted.flip(0))
        sizes = wanted.sum(1).flip(0).tolist()
        back = torch.cat(turned.split(sizes)[::-1])
        self._equal(together, back, "a row must be predicted alike wherever it stands in a call")

    def test_a_position_does_not_depend_on_what_else_is_wanted(self) -> None:
        """Each position alone gives what all together give."""
        denoiser, (tokens, wanted) = self.build(), self._some()
        together = self._law(denoiser, tokens, wanted)
        for number, (row, column) in enumerate(wanted.nonzero().tolist()):
            one = torch.zeros_like(wanted)
            one[row, column] = True
            law = self._law(denoiser, tokens, one)
            self._equal(
                together[number : number + 1], law, "a position must be predicted alike whatever else is wanted"
            )

    def test_padding_changes_nothing(self) -> None:
        """-1 before or after a shorter row, in a call with a longer one. Skipped without ``pads``."""
        if not self.pads:
            return
        denoiser, (tokens, wanted) = self.build(), self._some()
        size = self.length - 2
        short, asked = tokens[:1, :size], wanted[:1, :size]
        alone = self._law(denoiser, short, asked)
        blank, nothing = torch.full((1, 2), -1), torch.zeros(1, 2, dtype=torch.bool)
        for turn in (1, -1):
            padded = torch.cat([blank, short][::turn], 1)
            both = torch.cat([nothing, asked][::turn], 1)
            law = self._law(denoiser, torch.cat([padded, tokens[1:]]), torch.cat([both, torch.zeros_like(wanted[1:])]))
            self._equal(alone, law, f"padding {'before' if turn == 1 else 'after'} a row must change nothing; set pads")

    def test_two_parts_give_what_a_call_gives(self) -> None:
        """``parts.head`` of ``parts.states``, for some positions at a time, and ``parts.linear``, if there is one.

        Skipped without ``parts``.
        """
        denoiser, (tokens, wanted) = self.build(), self._some()
        parts = parts_of(denoiser)
        if parts is None:
            return
        row, column = wanted.nonzero(as_tuple=True)
        with torch.inference_mode():
            states = parts.states(tokens.clone(), row, column)
            logits = torch.cat([parts.head(states[:1]), parts.head(states[1:])])
            head = linear_head_of(parts)
            linear = logits if head is None else head.all_logits(states)
        expected = self._law(denoiser, tokens, wanted)
        self._equal(expected, logits.double().softmax(1).cpu(), "two parts must give a call")
        self._equal(expected, linear.double().softmax(1).cpu(), "parts.linear must give what parts.head gives")

    def _some(self) -> tuple[Tensor, Tensor]:
        """Rows with hidden positions, different numbers of them in each row, and these positions."""
        tokens = self.texts()
        hidden = torch.zeros_like(tokens, dtype=torch.bool)
        hidden[:, ::2] = True
        hidden[1, 1] = hidden[2, 1] = hidden[2, 3] = True
        return tokens.masked_fill(hidden, self.build().mask_id), hidden

    def _law(self, denoiser: Denoiser, tokens: Tensor, wanted: Tensor) -> Tensor:
        with torch.inference_mode():
            return denoiser(tokens.clone(), wanted.clone()).double().softmax(1).cpu()

    def _equal(self, first: Tensor, second: Tensor, rule: str) -> None:
        difference = float((first - second).abs().max())
        require(difference <= self.tolerance, rule, f"probabilities that differ by {difference:.2g}")
