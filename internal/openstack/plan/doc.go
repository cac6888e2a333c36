// Package plan decides, without asking anybody, what has to change in Neutron so that virtual addresses arrive at their
// front nodes: from what there is and what shall be it makes ordered actions, each with its reason.
//
// Only what is marked as the owner's is removed or changed. In ports of nodes two things are the owner's: the pairs of its
// addresses with the port's own MAC, and its group in the list of groups. Everything else is kept as it was read.
package plan
