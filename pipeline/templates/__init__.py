"""Templates: target networks as named tensors with a batched forward over K weight sets."""

from typing import Any

from pipeline.errors import UserError
from pipeline.params import Params
from pipeline.programs import addmod, arc1d, sumfirst
from pipeline.templates.base import Axis, Template, TensorSpec, Theta, linear
from pipeline.templates.mlp import Mlp
from pipeline.templates.module import ModuleTemplate
from pipeline.templates.transformer import Transformer, TransformerConfig


def make_template(params: Params, family: str) -> Template:
    """The template of a program family (App. C.2); its ends follow from the family's settings."""
    programs, templates = params.programs, params.templates
    if family == "sumfirst":
        sizes = (programs.sumfirst.length, *templates.sumfirst.hidden, 1)
        # The first input is place 1, so index i stands at i + 1.
        return Mlp(sizes, sumfirst.CENTRE - 1, sumfirst.UNIT)
    if family == "addmod":
        return Transformer(
            TransformerConfig(
                d_vocab=max(programs.addmod.primes),
                n_ctx=2,
                n_out=1,
                **templates.addmod.model_dump(),
                positional=False,
                attention_bias=True,
                output_projection=False,
                token_unit=addmod.UNIT,
            )
        )
    return Transformer(
        TransformerConfig(
            d_vocab=arc1d.COLOURS,
            n_ctx=2 * programs.arc1d.length,
            n_out=programs.arc1d.length,
            **templates.arc1d.model_dump(),
            positional=True,
            attention_bias=False,
            output_projection=True,
            token_unit=arc1d.PARAMETER_UNIT,
        )
    )


def from_spec(spec: dict[str, Any], source: str = "the template") -> Template:
    """The template that `spec()` described. Raises `UserError` if `source` holds something else."""
    try:
        fields = {key: value for key, value in spec.items() if key != "kind"}
        if spec["kind"] == Mlp.kind:
            return Mlp(**fields)
        if spec["kind"] == Transformer.kind:
            return Transformer(TransformerConfig(**fields))
    except (KeyError, TypeError, AttributeError, IndexError, ZeroDivisionError):
        pass
    raise UserError(f"{source} does not describe a template (mlp or transformer)")


__all__ = [
    "Axis",
    "Mlp",
    "ModuleTemplate",
    "Template",
    "TensorSpec",
    "Theta",
    "Transformer",
    "TransformerConfig",
    "from_spec",
    "linear",
    "make_template",
]
