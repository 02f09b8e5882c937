"""Options out of range are refused."""

import pytest

from tinyjax.errors import UserError
from tinyjax.sample.options import Options, check


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (Options(temperature=-1.0), "--temperature is -1.0; it must be 0 or more"),
        (Options(temperature=float("nan")), "--temperature is nan"),
        (Options(temperature=float("inf")), "--temperature is inf"),
        (Options(top_k=-1), "--top_k is -1; it must be 0"),
        (Options(top_p=0.0), "--top_p is 0.0; it must be above 0 and at most 1"),
        (Options(top_p=1.5), "--top_p is 1.5"),
        (Options(min_p=1.0), "--min_p is 1.0; it must be 0 (off) or more, and below 1"),
        (Options(repetition_penalty=0.0), "--repetition_penalty is 0.0; it must be above 0"),
        (Options(frequency_penalty=float("inf")), "--frequency_penalty is inf"),
        (Options(min_tokens=9, max_tokens=5), "--min_tokens is 9; it must be at most --max_tokens (5)"),
        (Options(stop=("",)), "texts that aren't empty"),
    ],
)
def test_options_out_of_range_are_refused(options: Options, said: str):
    with pytest.raises(UserError) as error:
        check(options)
    assert said in str(error.value)
    assert check(Options()) == Options()
