package main

// alphabet and generator are those of bech32 (BIP-173), final is bech32m's (BIP-350).
const (
	alphabet = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
	final    = 0x2bc830a3
	prefix   = "hmr"
)

var generator = [5]uint32{0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3}

// rootText is the text of a root: bech32m of its 32 bytes.
func rootText(root [32]byte) string {
	values := make([]byte, 0, 64)
	buffer, bits := uint32(0), 0
	for _, one := range root {
		buffer, bits = buffer<<8|uint32(one), bits+8
		for bits >= 5 {
			bits -= 5
			values = append(values, byte(buffer>>bits&31))
		}
	}
	values = append(values, byte(buffer<<(5-bits)&31))
	check := uint32(1)
	step := func(value byte) {
		top := check >> 25
		check = check&0x1ffffff<<5 ^ uint32(value)
		for at, one := range generator {
			if top>>at&1 == 1 {
				check ^= one
			}
		}
	}
	for _, letter := range []byte(prefix) {
		step(letter >> 5)
	}
	step(0)
	for _, letter := range []byte(prefix) {
		step(letter & 31)
	}
	for _, value := range values {
		step(value)
	}
	for range 6 {
		step(0)
	}
	check ^= final
	for at := range 6 {
		values = append(values, byte(check>>(5*(5-at))&31))
	}
	text := []byte(prefix + "1")
	for _, value := range values {
		text = append(text, alphabet[value])
	}
	return string(text)
}
