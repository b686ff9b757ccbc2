"""What a data set teaches, before anything is trained on it: faults, duplicates, shortcuts and labels.

    from deepfake_tf.audit.auditing import audit
    from deepfake_tf.audit.report import format_table, write_report

Start at `run.py`: `reading.py` passes over the images once, and each check is a module that reads what it kept.
"""
