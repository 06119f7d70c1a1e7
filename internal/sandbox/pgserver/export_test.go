package pgserver

// Alive and Children let the tests see what is left of a server.
var Alive = alive

func Children(postmaster int) ([]int, error) {
	table, err := processes()
	var pids []int
	for _, p := range table {
		if p.parent == postmaster {
			pids = append(pids, p.pid)
		}
	}
	return pids, err
}
