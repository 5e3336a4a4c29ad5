"""The forecast of a search: what its trials will take, from two real steps of the cheapest and of the dearest one, and
from the search's own decisions played many times over; and its grade, once the search has ended."""
