"""How much the long tests try at random: `make test-slow FUZZ=10` tries ten times as much."""

import os

FUZZ = int(os.environ.get('FUZZ', '1'))
