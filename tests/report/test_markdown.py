"""Text in `report.md` is shown as it is."""

import pytest

from lagsearch.report.pages.markdown import bold, escape_markdown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a*b* and `c`", r"a\*b\* and \`c\`"),
        ("_x_ of shakespeare_6to9", r"\_x\_ of shakespeare_6to9"),
        ("[a](b), 0.79 [0.62, 0.97] (at step 0)", r"[a]\(b), 0.79 [0.62, 0.97] (at step 0)"),
        ("<b> & \\", "&lt;b&gt; &amp; \\\\"),
    ],
)
def test_marks_of_a_name_are_text(text, expected):
    assert escape_markdown(text) == expected
    assert bold([text, text]) == f"**{expected}**  \n**{expected}**  "
