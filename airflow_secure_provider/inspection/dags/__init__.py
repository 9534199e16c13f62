"""DAG files held against contracts and rules before they run. Reads them, and never imports them.

Both views of a DAG become the same model (:mod:`.model`): its source (:mod:`.reading`), and its parsed tasks (:mod:`.tasks`).
"""
