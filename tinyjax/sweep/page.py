"""A sweep as one HTML page that needs nothing else."""

from tinyjax.errors import UserError
from tinyjax.sweep import figures, plot, tables
from tinyjax.sweep.compare import Comparison


def render(comparison: Comparison) -> str:
    """Returns the page; UserError without jinja2."""
    try:
        import jinja2
    except ImportError:
        raise UserError("the page of a sweep needs jinja2; run pip install 'tinyjax[audit]'") from None
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tinyjax", "sweep"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("sweep.html.jinja").render(
        comparison=comparison, figures=figures, plot=plot, tables=tables
    )
