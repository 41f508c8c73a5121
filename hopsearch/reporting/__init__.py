"""Reports of a study: leaderboard, figures and analyses, as HTML, Markdown, JSON, in TensorBoard
and on the terminal.
"""

from hopsearch.reporting.document import write_json, write_markdown
from hopsearch.reporting.facts import Facts, facts_of
from hopsearch.reporting.page import write_page
from hopsearch.reporting.pareto import pareto_front

__all__ = ["Facts", "facts_of", "pareto_front", "write_json", "write_markdown", "write_page"]
