package blindindex
import ("testing";"unicode";"fmt")
func TestZ(t *testing.T){
 for r:=rune(0); r<=unicode.MaxRune; r++ {
  if r>=0xD800&&r<0xE000 {continue}
  for _,tr:=range []Transform{Text,CaseFold,Digits}{
   a,err:=tr.Normalise("x1"+string(r)); if err!=nil{t.Fatal(err)}
   b,_:=tr.Normalise(a); if a!=b {t.Errorf("%s %U %q %q",tr,r,a,b)}
  }
  f:=unicode.SimpleFold(r)
  a,_:=CaseFold.Normalise("x"+string(r)); b,_:=CaseFold.Normalise("x"+string(f))
  if a!=b {fmt.Printf("%U %U %+q %+q\n",r,f,a,b)}
 }
}
