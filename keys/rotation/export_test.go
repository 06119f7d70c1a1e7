package rotation

// WithHook has f called before and after each statement.
func (o Options) WithHook(f func(at string)) Options {
	o.hook = f
	return o
}
