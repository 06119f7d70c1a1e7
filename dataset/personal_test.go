package dataset_test

import (
	"strings"
	"testing"

	"cloakroom/dataset"
)

func TestNamesThatSpeakOfPeople(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]dataset.Personal{
		"email": dataset.Email, "emailAddress": dataset.Email, "e_mail": dataset.Email, "e-mail": dataset.Email, "EMail": dataset.Email,
		"kundenEmail": dataset.Email, "customer.email": dataset.Email, "mail_to": dataset.Email, "Correo": dataset.Email,
		"ip": dataset.Address, "clientIP": dataset.Address, "ipAddress": dataset.Address, "IPAddress": dataset.Address,
		"remote_addr": dataset.Address, "X-Forwarded-For": dataset.Address,
		"telefono": dataset.Phone, "Kundentelefon": dataset.Phone, "telefonnummer": dataset.Phone, "Téléphone": dataset.Phone,
		"phoneNumber": dataset.Phone, "mobile_no": dataset.Phone,
		"vorname": dataset.Name, "vorName": dataset.Name, "nachName": dataset.Name, "gast.vorName": dataset.Name,
		"kundenName": dataset.Name, "postLeitzahl": dataset.Postal, "zimmerArt": "", "firstName": dataset.Name, "prénom": dataset.Name, "customer.name": dataset.Name,
		"straße": dataset.Postal, "Wohnadresse": dataset.Postal, "shippingAddress": dataset.Postal, "address.zone": dataset.Postal,
		"PLZ": dataset.Postal, "cardNumber": dataset.Card, "card.number": dataset.Card, "IBAN": dataset.IBAN,
		"geburtsdatum": dataset.Birth, "dateOfBirth": dataset.Birth, "fecha_nacimiento": dataset.Birth, "ssn": dataset.National,
		"deviceId": dataset.Device, "device.id": dataset.Device, "IMEI": dataset.Device, "userAgent": dataset.Agent,
		"latitude": dataset.Place, "geo.lat": dataset.Place, "passwort": dataset.Secret, "apiKey": dataset.Secret,
		"sessionToken": dataset.Secret, "userName": dataset.Account, "gender": dataset.Special,
		// What only sounds alike.
		"zipped": "", "shipment": "", "recipe": "", "device_type": "", "user_id": "", "kundennummer": "", "mode": "", "tip": "",
		"cardType": "", "card.brand": "", "email_verified": "", "address.country": "", "token_type": "",
		"discard": "", "product.name": "", "name": "", "session.length": "", "amount": "", "app_version": "", "locale": "",
	} {
		if got := dataset.NamedPersonal(strings.Split(name, ".")); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
