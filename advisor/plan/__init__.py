"""`ridgeline plan`: the advisor's models on a described, recorded or live workload, offline."""
