"""What an operator installs beside a server: Prometheus' rules and Grafana's boards, all written by `generate`."""
