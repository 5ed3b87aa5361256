"""The bus: runs, mailboxes and requests as files. It imports nothing else of ours."""
