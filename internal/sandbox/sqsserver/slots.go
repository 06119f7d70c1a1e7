package sqsserver

// slots keeps messages in blocks that never move, so that a receipt handle finds its message by number. A slot that
// falls free is used again before a new block is made.
type slots struct {
	blocks []*[slotsPerBlock]message
	free   []uint32
	used   uint32 // how many slots were ever used
}

const slotsPerBlock = 1024

// at returns slot i, or nil when there was never one.
func (s *slots) at(i uint32) *message {
	if i >= s.used {
		return nil
	}
	return &s.blocks[i/slotsPerBlock][i%slotsPerBlock]
}

func (s *slots) add(m message) uint32 {
	if n := len(s.free); n > 0 {
		i := s.free[n-1]
		s.free = s.free[:n-1]
		m.stamp = s.at(i).stamp
		*s.at(i) = m
		return i
	}
	if int(s.used) == len(s.blocks)*slotsPerBlock {
		s.blocks = append(s.blocks, new([slotsPerBlock]message))
	}
	s.used++
	*s.at(s.used - 1) = m
	return s.used - 1
}

// remove empties slot i, so that the body can be collected. The stamp stays and the slot's next tenant goes on from
// it: a stale place in the ready ring must not come true again.
func (s *slots) remove(i uint32) {
	*s.at(i) = message{stamp: s.at(i).stamp}
	s.free = append(s.free, i)
}

// each calls visit for every message, in no particular order.
func (s *slots) each(visit func(i uint32, m *message)) {
	for i := range s.used {
		if m := s.at(i); m.state != free {
			visit(i, m)
		}
	}
}
