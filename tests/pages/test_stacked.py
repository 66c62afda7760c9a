"""Cells of tables that say what they hold where rows stand below each other."""

from __future__ import annotations

from mdm_tune.pages.stacked import labelled

HEAD = '<thead><tr><th scope="col"><button>name</button></th><th>value</th><th>a &lt; b</th></tr></thead>'


def test_each_cell_but_the_first_has_the_heading_of_its_column() -> None:
    row = '<tr class="x"><td class="name">linear</td><td>1</td><td class="text"><b>2</b></td></tr>'
    wide = '<tr><td>x</td><td class="text" colspan="2">none</td></tr>'
    text = labelled(f"<p>td</p><table>{HEAD}<tbody>{row}{wide}</tbody></table><p>x</p>")
    assert '<td class="name">linear</td><td data-label="value">1</td>' in text
    assert '<td class="text" data-label="a &lt; b"><b>2</b></td>' in text
    assert wide in text and HEAD in text and text.startswith("<p>td</p>") and text.endswith("<p>x</p>")


def test_a_table_without_a_head_stays_as_it_is() -> None:
    plain = "<table><tr><td>1</td><td>2</td></tr></table>"
    assert labelled(plain) == plain
