"""One question per file. Each says what it measures, beside what, and which ratio it is after."""

from bench.question import Question
from bench.questions import authorize_one, create_node

QUESTIONS: tuple[Question, ...] = (authorize_one.QUESTION, create_node.QUESTION)
"""In the order in which they are asked."""
