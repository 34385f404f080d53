"""The clinician's review app, in Streamlit: worklist, images, report, findings, decisions.

    app.py     which screen is open
    state.py   what one browser session remembers, and what all of them share
    screens/   worklist, reading
    panels/    the parts of the reading screen

`medfuse review DIR` starts it. What it shows comes from `medfuse.review`; everything that comes out of files is drawn
as text (`panels/html.py` escapes it), never as markup.
"""
