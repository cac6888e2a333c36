package keepalived

// Message is message, for tests.
func Message(line string) string { return message(line) }

// ParseState is parseState, for tests.
func ParseState(line string) (State, bool) { return parseState(line) }

// Say is Process.say, for tests.
func (p *Process) Say(line string) { p.say(line) }
