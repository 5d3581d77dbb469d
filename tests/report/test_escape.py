import pytest

from kdbatch.report.escape import escape_html, escape_latex, escape_markdown, safe_file_name


def test_text_in_html_cannot_start_markup() -> None:
    assert escape_html("<b a=\"x\" b='y'>&") == "&lt;b a=&quot;x&quot; b=&#x27;y&#x27;&gt;&amp;"


def test_every_special_character_of_latex_is_written_as_text() -> None:
    assert escape_latex(r"50% & T_1 #2 $x$ {a} ~^\ ± 1") == (
        r"50\% \& T\_1 \#2 \$x\$ \{a\} \textasciitilde{}\textasciicircum{}\textbackslash{} $\pm$ 1"
    )


def test_markdown_cells_cannot_end_early_or_turn_bold() -> None:
    assert escape_markdown("a|b *c*\n<d>") == r"a\|b \*c\* \<d\>"


@pytest.mark.parametrize("name", ["../../etc/passwd", "/root", ".hidden", "a b/c", "", "…"])
def test_file_names_stay_in_their_folder(name: str) -> None:
    safe = safe_file_name(name)
    assert safe and "/" not in safe and not safe.startswith(".")
