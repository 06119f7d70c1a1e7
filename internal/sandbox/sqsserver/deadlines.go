package sqsserver

// deadlines is a heap of the messages that become visible by themselves, soonest first. Each message knows its place
// in it, so that a delete takes it out at once: with a long visibility timeout most deadlines never come.
type deadlines struct {
	heap  []deadline
	slots *slots
}

type deadline struct {
	due  int64 // milliseconds since the epoch
	slot uint32
}

// next returns when the soonest deadline is due.
func (d *deadlines) next() (int64, bool) {
	if len(d.heap) == 0 {
		return 0, false
	}
	return d.heap[0].due, true
}

func (d *deadlines) add(slot uint32, due int64) {
	d.heap = append(d.heap, deadline{due, slot})
	d.up(len(d.heap) - 1)
}

func (d *deadlines) change(slot uint32, due int64) {
	i := int(d.slots.at(slot).timer)
	d.heap[i].due = due
	d.up(i)
	d.down(int(d.slots.at(slot).timer))
}

func (d *deadlines) remove(slot uint32) {
	i := int(d.slots.at(slot).timer)
	last := len(d.heap) - 1
	moved := d.heap[last]
	d.heap = d.heap[:last]
	if i == last {
		return
	}
	d.put(i, moved)
	d.up(i)
	d.down(int(d.slots.at(moved.slot).timer))
}

func (d *deadlines) put(i int, e deadline) {
	d.heap[i] = e
	d.slots.at(e.slot).timer = int32(i)
}

// arity 4 halves the depth of a binary heap and keeps a node's children in one cache line.
const arity = 4

func (d *deadlines) up(i int) {
	e := d.heap[i]
	for i > 0 {
		parent := (i - 1) / arity
		if d.heap[parent].due <= e.due {
			break
		}
		d.put(i, d.heap[parent])
		i = parent
	}
	d.put(i, e)
}

func (d *deadlines) down(i int) {
	e := d.heap[i]
	for {
		first := i*arity + 1
		if first >= len(d.heap) {
			break
		}
		least := first
		for child := first + 1; child < min(first+arity, len(d.heap)); child++ {
			if d.heap[child].due < d.heap[least].due {
				least = child
			}
		}
		if d.heap[least].due >= e.due {
			break
		}
		d.put(i, d.heap[least])
		i = least
	}
	d.put(i, e)
}
