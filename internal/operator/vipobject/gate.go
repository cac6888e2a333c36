package vipobject

// Gate says on which nodes the gate is to be open. It is pure and follows three rules: what is not known changes nothing; a node opens when the
// network lets the addresses through there; and it closes when the network does not and another node is better. Where none is better every front stays
// where it is: to take the address from its last holder helps nobody.
func Gate(nodes []Node, network *Network) map[string]bool {
	out := map[string]bool{}
	if network == nil {
		return out
	}
	better := false
	for _, n := range nodes {
		better = better || network.Nodes[n.Name].Openness == Open
	}
	for _, n := range nodes {
		switch network.Nodes[n.Name].Openness {
		case Open:
			out[n.Name] = true
		case Closed:
			out[n.Name] = n.Labelled && !better
		case Unknown:
			out[n.Name] = n.Labelled
		}
	}
	return out
}
