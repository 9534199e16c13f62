"""What columns hold, told by their values and names: see :func:`columns.ColumnLook` and :func:`judging.judge`."""
