"""The web console: one page at `/` over a `ConsoleSource`. Start reading at `page.register`."""
