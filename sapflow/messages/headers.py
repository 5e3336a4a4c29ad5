"""The headers with which a function says more about an answer than its body."""

SECONDS_HEADER = "x-sapflow-seconds"
"""Header of a function's answer: the seconds that its handler took, without the time before and after it."""
AGE_HEADER = "x-sapflow-age"
"""Header of an instance's first answer: the age of its process, in seconds, when the call arrived."""
MEMORY_HEADER = "x-sapflow-memory"
"""Header of a function's answer: its memory limit in bytes, if it knows one."""
