"""medfuse fuses medical images with clinical text, to diagnose and to delineate.

Research software: it informs a clinician and never decides.
"""

__version__ = "0.1.0"
