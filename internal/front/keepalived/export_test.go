package keepalived

// Message is message, for tests.
func Message(line string) string { return message(line) }

// ParseState is parseState, for tests.
func ParseState(line string) (State, bool) { return parseState(line) }
