"""Pictures of traces and words for the command line: text tables, DOT, SVG, trace files and ITF, reports."""
